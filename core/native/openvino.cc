#include "openvino.h"

#include <algorithm>
#include <cfenv>
#include <cstdlib>
#include <cstring>
#include <new>
#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace icebreaker {
namespace {

using tensorflow::OpKernelContext;

constexpr char kMark[] = "icebreaker openvino ir 1\n";
constexpr size_t kMostOwn = 8, kMostIdle = 16, kMostRefused = 1000;
constexpr int kCrowd = 20;  // calls that found another one under way, before it pays to compile for them
const Config kForCrowds = {"PERFORMANCE_HINT", "THROUGHPUT", "NUM_STREAMS", "AUTO"};

#define FOR_EACH_FUNCTION(DO)                                                                                     \
  DO(ov_core_create) DO(ov_core_read_model_from_memory_buffer) DO(ov_core_compile_model_props)                    \
  DO(ov_model_free) DO(ov_model_is_dynamic) DO(ov_model_reshape_by_port_indexes) DO(ov_model_const_input_by_index) \
  DO(ov_model_const_output_by_index) DO(ov_model_inputs_size) DO(ov_model_outputs_size)                            \
  DO(ov_port_get_element_type) DO(ov_port_get_partial_shape) DO(ov_output_const_port_free)                        \
  DO(ov_partial_shape_create_static) DO(ov_partial_shape_free) DO(ov_partial_shape_is_dynamic)                    \
  DO(ov_partial_shape_to_shape) DO(ov_shape_free) DO(ov_compiled_model_output_by_index)                           \
  DO(ov_compiled_model_create_infer_request) DO(ov_compiled_model_free) DO(ov_infer_request_free)                 \
  DO(ov_infer_request_set_input_tensor_by_index) DO(ov_infer_request_set_output_tensor_by_index)                  \
  DO(ov_infer_request_get_output_tensor_by_index) DO(ov_infer_request_infer) DO(ov_tensor_create_from_host_ptr)   \
  DO(ov_tensor_free) DO(ov_tensor_data) DO(ov_tensor_get_shape) DO(ov_tensor_get_element_type)                    \
  DO(ov_tensor_get_byte_size) DO(ov_get_last_err_msg)

// OpenVINO's C functions by their own names, and one core for the process, which is never freed.
struct Api {
#define DECLARE(NAME) decltype(&::NAME) NAME = nullptr;
  FOR_EACH_FUNCTION(DECLARE)
#undef DECLARE
  ov_core_t* core = nullptr;
};

std::mutex library_mutex;
std::string library_path;
const Api* api = nullptr;  // set once, before any form is made

// The last lines of OpenVINO's message say what is wrong; the first ones say where in its source.
std::string Words(const Api& from) {
  const char* said = from.ov_get_last_err_msg();
  std::string words = said == nullptr ? "" : said;
  while (!words.empty() && words.back() == '\n') words.pop_back();
  const size_t line = words.rfind('\n');
  return words.substr(line == std::string::npos ? 0 : line + 1, 300);
}

absl::Status Check(ov_status_e status) {
  return status == OK ? absl::OkStatus() : absl::InternalError(absl::StrCat("OpenVINO failed: ", Words(*api)));
}

// What is not normal is computed with, as everywhere outside TensorFlow's threads: see `engine/numbers/float_mode.py`.
class ExactNearZero {
 public:
  ExactNearZero() {
    std::fegetenv(&kept_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~ExactNearZero() { std::fesetenv(&kept_); }

 private:
  std::fenv_t kept_;
};

absl::Status LoadOpenVino() {
  std::lock_guard<std::mutex> lock(library_mutex);
  if (api != nullptr) return absl::OkStatus();
  std::string path = library_path;
  if (const char* named = std::getenv("ICEBREAKER_OPENVINO"); path.empty() && named != nullptr) path = named;
  if (path.empty()) path = "libopenvino_c.so";
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return absl::NotFoundError(absl::StrCat("OpenVINO cannot be loaded: ", dlerror()));
  auto made = std::make_unique<Api>();
#define FIND(NAME)                                                         \
  made->NAME = reinterpret_cast<decltype(made->NAME)>(dlsym(library, #NAME)); \
  if (made->NAME == nullptr) return absl::NotFoundError(absl::StrCat(path, " has no ", #NAME));
  FOR_EACH_FUNCTION(FIND)
#undef FIND
  if (made->ov_core_create(&made->core) != OK) return absl::InternalError(Words(*made));
  api = made.release();
  return absl::OkStatus();
}

// Calls something when it goes out of scope.
template <typename Free>
class Freed {
 public:
  explicit Freed(Free free) : free_(free) {}
  Freed(const Freed&) = delete;
  ~Freed() { free_(); }

 private:
  Free free_;
};

// A tensor of OpenVINO over memory that is somebody else's.
absl::StatusOr<ov_tensor_t*> Wrapped(ov_element_type_e type, std::vector<int64_t> dims, void* memory) {
  ov_tensor_t* result = nullptr;
  const ov_shape_t shape{static_cast<int64_t>(dims.size()), dims.data()};
  TF_RETURN_IF_ERROR(Check(api->ov_tensor_create_from_host_ptr(type, shape, memory, &result)));
  return result;
}

std::vector<int64_t> Dims(const TensorShape& shape) {
  std::vector<int64_t> dims;
  for (int i = 0; i < shape.dims(); ++i) dims.push_back(shape.dim_size(i));
  return dims;
}

absl::StatusOr<ov_tensor_t*> Wrapped(const Tensor& tensor) {
  return Wrapped(ElementType(tensor.dtype()), Dims(tensor.shape()), tensor.data());
}

absl::Status CheckType(ov_output_const_port_t* port, DataType wanted) {
  ov_element_type_e found = DYNAMIC;
  TF_RETURN_IF_ERROR(Check(api->ov_port_get_element_type(port, &found)));
  if (found != ElementType(wanted) || found == DYNAMIC) return absl::InvalidArgumentError("the model has other types");
  return absl::OkStatus();
}

}  // namespace

void UseOpenVino(const std::string& path) {
  std::lock_guard<std::mutex> lock(library_mutex);
  library_path = path;
}

ov_element_type_e ElementType(DataType type) {
  switch (type) {
    case tensorflow::DT_BOOL: return BOOLEAN;
    case tensorflow::DT_BFLOAT16: return BF16;
    case tensorflow::DT_HALF: return F16;
    case tensorflow::DT_FLOAT: return F32;
    case tensorflow::DT_DOUBLE: return F64;
    case tensorflow::DT_INT8: return I8;
    case tensorflow::DT_INT16: return I16;
    case tensorflow::DT_INT32: return I32;
    case tensorflow::DT_INT64: return I64;
    case tensorflow::DT_UINT8: return U8;
    case tensorflow::DT_UINT16: return U16;
    case tensorflow::DT_UINT32: return U32;
    case tensorflow::DT_UINT64: return U64;
    default: return DYNAMIC;
  }
}

absl::StatusOr<std::shared_ptr<const ModelData>> ModelData::Parse(absl::string_view payload) {
  const size_t start = sizeof(kMark) - 1 + sizeof(uint64_t);
  uint64_t length = 0;
  if (payload.size() >= start) std::memcpy(&length, payload.data() + sizeof(kMark) - 1, sizeof(length));
  if (payload.size() < start || payload.compare(0, sizeof(kMark) - 1, kMark) != 0 || length > payload.size() - start) {
    return absl::InvalidArgumentError("the model is damaged");
  }
  return std::shared_ptr<const ModelData>(
      new ModelData(payload.substr(start, length), payload.substr(start + length)));
}

ModelData::ModelData(absl::string_view text, absl::string_view weights) : text_(text), size_(weights.size()) {
  if (size_ == 0) return;
  weights_ = std::aligned_alloc(64, (size_ + 63) / 64 * 64);
  if (weights_ == nullptr) throw std::bad_alloc();
  std::memcpy(weights_, weights.data(), size_);
}

ModelData::~ModelData() { std::free(weights_); }

bool ModelData::operator==(const ModelData& other) const {
  return text_ == other.text_ && size_ == other.size_ && (size_ == 0 || !std::memcmp(weights_, other.weights_, size_));
}

Form::~Form() {
  for (ov_infer_request_t* request : idle_) api->ov_infer_request_free(request);
  api->ov_compiled_model_free(compiled_);
}

absl::Status Form::Describe(const std::vector<DataType>& types) {
  writes_in_place_ = true;
  for (size_t i = 0; i < types.size(); ++i) {
    ov_output_const_port_t* port = nullptr;
    TF_RETURN_IF_ERROR(Check(api->ov_compiled_model_output_by_index(compiled_, i, &port)));
    Freed free_port([port] { api->ov_output_const_port_free(port); });
    TF_RETURN_IF_ERROR(CheckType(port, types[i]));
    ov_partial_shape_t shape;
    TF_RETURN_IF_ERROR(Check(api->ov_port_get_partial_shape(port, &shape)));
    Freed free_shape([&shape] { api->ov_partial_shape_free(&shape); });
    if (api->ov_partial_shape_is_dynamic(shape)) {
      writes_in_place_ = false;
      continue;
    }
    ov_shape_t fixed;
    TF_RETURN_IF_ERROR(Check(api->ov_partial_shape_to_shape(shape, &fixed)));
    shapes_.emplace_back(absl::Span<const int64_t>(fixed.dims, fixed.rank));
    api->ov_shape_free(&fixed);
    writes_in_place_ &= shapes_.back().num_elements() > 0;
  }
  return absl::OkStatus();
}

absl::Status Form::Run(OpKernelContext* context, const std::vector<DataType>& types, std::vector<Tensor>* outputs) {
  ov_infer_request_t* request = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      request = idle_.back();
      idle_.pop_back();
    }
  }
  if (request == nullptr) TF_RETURN_IF_ERROR(Check(api->ov_compiled_model_create_infer_request(compiled_, &request)));
  const absl::Status status = Infer(request, context, types, outputs);
  std::unique_lock<std::mutex> lock(mutex_);
  if (status.ok() && idle_.size() < kMostIdle) {
    idle_.push_back(request);
  } else {  // one that failed is not used again
    lock.unlock();
    api->ov_infer_request_free(request);
  }
  return status;
}

absl::Status Form::Infer(ov_infer_request_t* request, OpKernelContext* context, const std::vector<DataType>& types,
                         std::vector<Tensor>* outputs) {
  for (int i = 0; i < context->num_inputs(); ++i) {
    TF_ASSIGN_OR_RETURN(ov_tensor_t * tensor, Wrapped(context->input(i)));
    Freed free_tensor([tensor] { api->ov_tensor_free(tensor); });
    TF_RETURN_IF_ERROR(Check(api->ov_infer_request_set_input_tensor_by_index(request, i, tensor)));
  }
  outputs->assign(types.size(), Tensor());
  for (size_t i = 0; writes_in_place_ && i < types.size(); ++i) {
    TF_RETURN_IF_ERROR(context->allocate_temp(types[i], shapes_[i], &(*outputs)[i]));
    TF_ASSIGN_OR_RETURN(ov_tensor_t * tensor, Wrapped((*outputs)[i]));
    Freed free_tensor([tensor] { api->ov_tensor_free(tensor); });
    TF_RETURN_IF_ERROR(Check(api->ov_infer_request_set_output_tensor_by_index(request, i, tensor)));
  }
  {
    ExactNearZero exact;
    TF_RETURN_IF_ERROR(Check(api->ov_infer_request_infer(request)));
  }
  for (size_t i = 0; !writes_in_place_ && i < types.size(); ++i) {
    ov_tensor_t* tensor = nullptr;
    TF_RETURN_IF_ERROR(Check(api->ov_infer_request_get_output_tensor_by_index(request, i, &tensor)));
    Freed free_tensor([tensor] { api->ov_tensor_free(tensor); });
    ov_shape_t shape;
    TF_RETURN_IF_ERROR(Check(api->ov_tensor_get_shape(tensor, &shape)));
    const TensorShape known(absl::Span<const int64_t>(shape.dims, shape.rank));
    api->ov_shape_free(&shape);
    TF_RETURN_IF_ERROR(context->allocate_temp(types[i], known, &(*outputs)[i]));
    size_t size = 0;
    void* memory = nullptr;
    TF_RETURN_IF_ERROR(Check(api->ov_tensor_get_byte_size(tensor, &size)));
    if (size != (*outputs)[i].TotalBytes()) return absl::InternalError("OpenVINO gave an output of another size");
    if (size == 0) continue;
    TF_RETURN_IF_ERROR(Check(api->ov_tensor_data(tensor, &memory)));
    std::memcpy((*outputs)[i].data(), memory, size);
  }
  return absl::OkStatus();
}

absl::Status Segment::Run(OpKernelContext* context, std::vector<Tensor>* outputs) {
  TF_RETURN_IF_ERROR(LoadOpenVino());
  Key key;
  for (int i = 0; i < context->num_inputs(); ++i) {
    const TensorShape& shape = context->input(i).shape();
    key.push_back(shape.dims());
    for (const int64_t dim : Dims(shape)) key.push_back(dim);
  }
  int running;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    running = ++running_;
  }
  Freed leave([this] {
    std::lock_guard<std::mutex> lock(mutex_);
    --running_;
  });
  if (const auto form = Crowded(running); form != nullptr && form->Run(context, outputs_, outputs).ok()) {
    return absl::OkStatus();
  }
  return RunFirst(context, key, outputs);
}

absl::Status Segment::RunFirst(OpKernelContext* context, const Key& key, std::vector<Tensor>* outputs) {
  bool takes_open;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    takes_open = !is_static_ && !has_no_open_form_ && !own_.empty() && own_.count(key) == 0;
  }
  if (takes_open) {
    if (const Made form = Open(); form.ok() && (*form)->Run(context, outputs_, outputs).ok()) return absl::OkStatus();
  }
  TF_ASSIGN_OR_RETURN(const std::shared_ptr<Form> form, Own(context, key));
  return form->Run(context, outputs_, outputs);
}

Segment::Made Segment::Own(OpKernelContext* context, const Key& key) {
  std::promise<Made> promise;
  std::shared_future<Made> future;
  bool is_mine = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (refused_.count(key)) return absl::InternalError("OpenVINO refuses the segment at these shapes");
    if (const auto found = own_.find(key); found != own_.end()) {
      future = found->second;
    } else {
      is_mine = true;
      future = own_.emplace(key, promise.get_future().share()).first->second;
      order_.push_back(key);
      if (order_.size() > kMostOwn) {
        own_.erase(order_.front());
        order_.pop_front();
      }
    }
  }
  if (is_mine) {
    Made made = Compile(context, {});
    if (!made.ok()) {
      std::lock_guard<std::mutex> lock(mutex_);
      own_.erase(key);
      order_.erase(std::remove(order_.begin(), order_.end(), key), order_.end());
      if (refused_.size() < kMostRefused) refused_.insert(key);
    }
    promise.set_value(std::move(made));
  }
  return future.get();
}

Segment::Made Segment::Open() {
  std::promise<Made> promise;
  std::shared_future<Made> future;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!open_.valid()) {
      open_ = promise.get_future().share();
    } else {
      future = open_;
    }
  }
  if (future.valid()) return future.get();
  Made made = Compile(nullptr, {});
  if (!made.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    has_no_open_form_ = true;
  }
  promise.set_value(made);
  return made;
}

std::shared_ptr<Form> Segment::Crowded(int running) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    met_ += running > 1 && met_ <= kCrowd;
    if (running == 1 || met_ != kCrowd) return running > 1 ? crowded_ : nullptr;
    ++met_;  // this call compiles, the others go on
  }
  Made made = Compile(nullptr, kForCrowds);
  std::lock_guard<std::mutex> lock(mutex_);
  if (made.ok()) crowded_ = *std::move(made);
  return crowded_;
}

// For the shapes of a call's inputs, or for all.
Segment::Made Segment::Compile(OpKernelContext* shapes_of, const Config& extra) {
  ExactNearZero exact;  // OpenVINO's threads are as the one that makes them
  ov_tensor_t* weights = nullptr;
  if (model_->size() > 0) {
    TF_ASSIGN_OR_RETURN(weights, Wrapped(U8, {static_cast<int64_t>(model_->size())}, model_->weights()));
  }
  ov_model_t* model = nullptr;
  const ov_status_e read = api->ov_core_read_model_from_memory_buffer(
      api->core, model_->text().c_str(), model_->text().size(), weights, &model);
  if (weights != nullptr) api->ov_tensor_free(weights);
  TF_RETURN_IF_ERROR(Check(read));
  Freed free_model([model] { api->ov_model_free(model); });

  size_t inputs = 0, outputs = 0;
  TF_RETURN_IF_ERROR(Check(api->ov_model_inputs_size(model, &inputs)));
  TF_RETURN_IF_ERROR(Check(api->ov_model_outputs_size(model, &outputs)));
  if (inputs != inputs_.size() || outputs != outputs_.size()) {
    return absl::InvalidArgumentError("the model has other inputs or outputs");
  }
  for (size_t i = 0; i < inputs; ++i) {
    ov_output_const_port_t* port = nullptr;
    TF_RETURN_IF_ERROR(Check(api->ov_model_const_input_by_index(model, i, &port)));
    Freed free_port([port] { api->ov_output_const_port_free(port); });
    TF_RETURN_IF_ERROR(CheckType(port, inputs_[i]));
  }
  if (!api->ov_model_is_dynamic(model)) {
    std::lock_guard<std::mutex> lock(mutex_);
    is_static_ = true;
  } else if (shapes_of != nullptr) {
    std::vector<size_t> ports;
    std::vector<ov_partial_shape_t> shapes;
    Freed free_shapes([&shapes] {
      for (ov_partial_shape_t& shape : shapes) api->ov_partial_shape_free(&shape);
    });
    for (size_t i = 0; i < inputs; ++i) {
      std::vector<int64_t> dims = Dims(shapes_of->input(i).shape());
      ports.push_back(i);
      ov_partial_shape_t shape;
      TF_RETURN_IF_ERROR(Check(api->ov_partial_shape_create_static(dims.size(), dims.data(), &shape)));
      shapes.push_back(shape);
    }
    TF_RETURN_IF_ERROR(Check(api->ov_model_reshape_by_port_indexes(model, ports.data(), shapes.data(), inputs)));
  }

  std::map<std::string, std::string> settings;
  for (const Config* part : {&config_, &extra}) {
    for (size_t i = 0; i + 1 < part->size(); i += 2) settings[(*part)[i]] = (*part)[i + 1];
  }
  std::vector<ov_property_t> properties;
  for (const auto& [name, value] : settings) properties.push_back({name.c_str(), value.c_str()});
  ov_compiled_model_t* compiled = nullptr;
  TF_RETURN_IF_ERROR(Check(api->ov_core_compile_model_props(
      api->core, model, "CPU", properties.size(), properties.data(), &compiled)));
  auto form = std::make_shared<Form>(compiled);
  TF_RETURN_IF_ERROR(form->Describe(outputs_));
  return form;
}

}  // namespace icebreaker
