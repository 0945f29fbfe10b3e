// The op IcebreakerEngine: a segment in OpenVINO, in the place of a call of Python; and how Python hands models over.

#include <algorithm>
#include <atomic>
#include <limits>

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "openvino.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/types.h"

namespace icebreaker {
namespace {

using tensorflow::AsyncOpKernel;
using tensorflow::FunctionLibraryRuntime;
using tensorflow::NameAttrList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::PartialTensorShape;

// What is registered by Python under a key, and all segments in use: several sessions may have the same ones.
std::mutex registry_mutex;
std::map<std::string, std::shared_ptr<const ModelData>>& Registered() {
  static auto* const made = new std::map<std::string, std::shared_ptr<const ModelData>>();
  return *made;
}

absl::StatusOr<std::shared_ptr<Segment>> FindSegment(const std::string& key, const std::string& payload,
                                                     const Config& config, const std::vector<DataType>& inputs,
                                                     const std::vector<DataType>& outputs) {
  static auto* const known = new std::vector<std::weak_ptr<Segment>>();
  std::shared_ptr<const ModelData> model;
  if (key.empty()) {
    TF_ASSIGN_OR_RETURN(model, ModelData::Parse(payload));
  }
  std::lock_guard<std::mutex> lock(registry_mutex);
  if (!key.empty()) {
    const auto found = Registered().find(key);
    if (found == Registered().end()) return absl::NotFoundError("its model is of another process");
    model = found->second;
  }
  std::vector<std::weak_ptr<Segment>> living;
  std::shared_ptr<Segment> result;
  for (const auto& weak : *known) {
    if (auto item = weak.lock()) {
      if (item->Is(*model, config, inputs, outputs)) result = item;
      living.push_back(weak);
    }
  }
  if (result == nullptr) {
    result = std::make_shared<Segment>(model, config, inputs, outputs);
    living.push_back(result);
  }
  *known = std::move(living);
  return result;
}

// Whether all whole numbers of a tensor lie between two others.
template <typename T>
bool AreWithin(const Tensor& tensor, int64_t lowest, int64_t highest) {
  const auto values = tensor.flat<T>();
  T low = values(0), high = values(0);
  for (int64_t i = 1; i < values.size(); ++i) {
    low = values(i) < low ? values(i) : low;
    high = values(i) > high ? values(i) : high;
  }
  if constexpr (std::is_unsigned_v<T>) {
    return low >= static_cast<uint64_t>(std::max<int64_t>(lowest, 0)) && highest >= 0 &&
           high <= static_cast<uint64_t>(highest);
  }
  return static_cast<int64_t>(low) >= lowest && static_cast<int64_t>(high) <= highest;
}

bool IsWithin(const Tensor& tensor, int64_t lowest, int64_t highest) {
  switch (tensor.dtype()) {
#define CASE(T) \
  case tensorflow::DataTypeToEnum<T>::value: return AreWithin<T>(tensor, lowest, highest);
    CASE(int8_t) CASE(int16_t) CASE(int32_t) CASE(int64_t) CASE(uint8_t) CASE(uint16_t) CASE(uint32_t) CASE(uint64_t)
#undef CASE
    default: return false;  // nothing else is asked of them
  }
}

template <typename T>
bool AnyNan(const Tensor& tensor) {
  const auto values = tensor.flat<T>();
  bool found = false;
  for (int64_t i = 0; i < values.size(); ++i) found |= values(i) != values(i);
  return found;
}

bool HasNan(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case tensorflow::DT_FLOAT: return AnyNan<float>(tensor);
    case tensorflow::DT_DOUBLE: return AnyNan<double>(tensor);
    case tensorflow::DT_HALF: return AnyNan<Eigen::half>(tensor);
    case tensorflow::DT_BFLOAT16: return AnyNan<Eigen::bfloat16>(tensor);
    default: return false;
  }
}

class EngineOp : public AsyncOpKernel {
 public:
  explicit EngineOp(OpKernelConstruction* context) : AsyncOpKernel(context) {
    // Compiled code of another version has other classes; what is asked for here is part of the C API.
    using Version = const char* (*)();
    if (const auto version = reinterpret_cast<Version>(dlsym(RTLD_DEFAULT, "TF_Version")); version != nullptr) {
      OP_REQUIRES(context, absl::string_view(version()) == ICEBREAKER_TENSORFLOW,
                  absl::FailedPreconditionError(absl::StrCat("Icebreaker's library is for TensorFlow ",
                                                             ICEBREAKER_TENSORFLOW, ", and this is ", version())));
    }
    std::string payload;
    Config config;
    std::vector<DataType> inputs;
    OP_REQUIRES_OK(context, context->GetAttr("Tin", &inputs));
    OP_REQUIRES_OK(context, context->GetAttr("Tout", &outputs_));
    OP_REQUIRES_OK(context, context->GetAttr("shapes", &shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("lowest", &lowest_));
    OP_REQUIRES_OK(context, context->GetAttr("highest", &highest_));
    OP_REQUIRES_OK(context, context->GetAttr("looks_for_nan", &looks_for_nan_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config));
    OP_REQUIRES_OK(context, context->GetAttr("key", &key_));
    OP_REQUIRES_OK(context, context->GetAttr("model", &payload));
    OP_REQUIRES_OK(context, context->GetAttr("fallback", &fallback_));
    const size_t count = inputs.size();
    OP_REQUIRES(context,
                shapes_.size() == count && lowest_.size() == count && highest_.size() == count &&
                    looks_for_nan_.size() == count,
                absl::InvalidArgumentError(absl::StrCat("engine ", name(), " is not as it was written")));
    auto found = FindSegment(key_, payload, config, inputs, outputs_);
    if (found.ok()) {
      segment_ = *std::move(found);
    } else {
      Tell(found.status());
    }
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    if (segment_ != nullptr && Takes(context)) {
      std::vector<Tensor> outputs;
      const absl::Status status = segment_->Run(context, &outputs);
      if (status.ok()) {
        for (size_t i = 0; i < outputs.size(); ++i) context->set_output(i, outputs[i]);
        done();
        return;
      }
      Tell(status);
    }
    FallBack(context, std::move(done));
  }

 private:
  // Whether the engine computes with these inputs what TensorFlow would: `Watch` of `engine/numbers/limits.py`.
  bool Takes(OpKernelContext* context) const {
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& input = context->input(i);
      if (input.NumElements() == 0 || !shapes_[i].IsCompatibleWith(input.shape())) return false;
      if ((lowest_[i] != std::numeric_limits<int64_t>::min() || highest_[i] != std::numeric_limits<int64_t>::max()) &&
          !IsWithin(input, lowest_[i], highest_[i])) {
        return false;
      }
      if (looks_for_nan_[i] && HasNan(input)) return false;
    }
    return true;
  }

  // Where Python is, the fallback tells; else this does, once.
  void Tell(const absl::Status& why) {
    if (key_.empty() && !told_.exchange(true)) {
      LOG(WARNING) << "engine " << name() << ": " << why.message() << "; runs in TensorFlow";
    }
  }

  void FallBack(OpKernelContext* context, DoneCallback done) {
    FunctionLibraryRuntime* library = context->function_library();
    OP_REQUIRES_ASYNC(context, library != nullptr, absl::InternalError("there is no function library"), done);
    FunctionLibraryRuntime::Handle handle;
    OP_REQUIRES_OK_ASYNC(
        context,
        library->Instantiate(fallback_.name(), tensorflow::AttrSlice(&fallback_.attr()), &handle), done);
    FunctionLibraryRuntime::Options options;
    options.rendezvous = context->rendezvous();
    options.cancellation_manager = context->cancellation_manager();
    options.collective_executor = context->collective_executor();
    options.stats_collector = context->stats_collector();
    options.runner = context->runner();
    options.run_all_kernels_inline = context->run_all_kernels_inline();
    options.step_container = context->step_container();
    std::vector<Tensor> inputs;
    for (int i = 0; i < context->num_inputs(); ++i) inputs.push_back(context->input(i));
    auto outputs = std::make_shared<std::vector<Tensor>>();
    library->Run(options, handle, inputs, outputs.get(),
                 [this, context, outputs, done = std::move(done)](const absl::Status& status) {
                   absl::Status told = status;
                   if (status.ok() && outputs->size() != outputs_.size()) {
                     told = absl::InternalError(absl::StrCat("engine ", name(), " gave another number of outputs"));
                   }
                   if (told.ok()) {
                     for (size_t i = 0; i < outputs->size(); ++i) context->set_output(i, (*outputs)[i]);
                   } else {
                     context->SetStatus(told);
                   }
                   done();
                 });
  }

  std::vector<DataType> outputs_;
  std::vector<PartialTensorShape> shapes_;
  std::vector<int64_t> lowest_, highest_;
  std::vector<bool> looks_for_nan_;
  std::string key_;
  NameAttrList fallback_;
  std::shared_ptr<Segment> segment_;
  std::atomic<bool> told_{false};
};

REGISTER_KERNEL_BUILDER(Name("IcebreakerEngine").Device(tensorflow::DEVICE_CPU), EngineOp);

REGISTER_OP("IcebreakerEngine")
    .Input("inputs: Tin")
    .Output("outputs: Tout")
    .Attr("Tin: list(type) >= 1")
    .Attr("Tout: list(type) >= 1")
    .Attr("shapes: list(shape)")
    .Attr("lowest: list(int)")
    .Attr("highest: list(int)")
    .Attr("looks_for_nan: list(bool)")
    .Attr("config: list(string)")
    .Attr("key: string = ''")
    .Attr("model: string = ''")
    .Attr("fallback: func")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape)
    .Doc(R"doc(
Runs a segment in OpenVINO; what that does not take runs in `fallback`.

shapes: What each input may be like.
lowest: The smallest whole number that each input may have; the smallest of all: any.
highest: The largest one, likewise.
looks_for_nan: Whether a NaN in that input would be lost.
config: OpenVINO's settings, keys and values in turn.
key: What the model was registered as, in this process; or
model: the model itself.
)doc");

}  // namespace
}  // namespace icebreaker

// For Python, by way of ctypes.
#define EXPORTED __attribute__((visibility("default")))
extern "C" {

EXPORTED void icebreaker_use_openvino(const char* path) { icebreaker::UseOpenVino(path); }

// Keeps a copy of a model under a key; 0 if it is one.
EXPORTED int icebreaker_register(const char* key, const char* payload, size_t size) {
  auto model = icebreaker::ModelData::Parse({payload, size});
  if (!model.ok()) return 1;
  std::lock_guard<std::mutex> lock(icebreaker::registry_mutex);
  icebreaker::Registered()[key] = *std::move(model);
  return 0;
}

EXPORTED void icebreaker_unregister(const char* key) {
  std::lock_guard<std::mutex> lock(icebreaker::registry_mutex);
  icebreaker::Registered().erase(key);
}
}
