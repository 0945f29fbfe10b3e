// OpenVINO as this library uses it: found at run time, a model in the forms it was compiled into, each with its requests.
//
// What is done here is what `core/icebreaker/engine/openvino.py` and `compiled_shapes.py` do in Python.

#ifndef ICEBREAKER_NATIVE_OPENVINO_H_
#define ICEBREAKER_NATIVE_OPENVINO_H_

#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "openvino/c/openvino.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace icebreaker {

using tensorflow::DataType;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using Config = std::vector<std::string>;  // keys and values in turn

// Says where OpenVINO's C library is; else the variable ICEBREAKER_OPENVINO does, or the system's loader finds it.
void UseOpenVino(const std::string& path);

// OpenVINO's element type for one of TensorFlow's; DYNAMIC where it has none.
ov_element_type_e ElementType(DataType type);

// A model as OpenVINO writes it: a text, and its weights, which compiled forms may go on reading.
class ModelData {
 public:
  // Takes what `Model` in `icebreaker.engine.openvino` is: a mark, the length of the text, the text, the weights.
  static absl::StatusOr<std::shared_ptr<const ModelData>> Parse(absl::string_view payload);
  ModelData(const ModelData&) = delete;
  ~ModelData();

  bool operator==(const ModelData& other) const;
  const std::string& text() const { return text_; }
  void* weights() const { return weights_; }
  size_t size() const { return size_; }

 private:
  explicit ModelData(absl::string_view text, absl::string_view weights);
  const std::string text_;
  void* weights_ = nullptr;
  const size_t size_;
};

// One compiled form of a model, with the requests that nobody uses just now.
class Form {
 public:
  explicit Form(ov_compiled_model_t* compiled) : compiled_(compiled) {}
  Form(const Form&) = delete;
  ~Form();

  // What its outputs are like, as far as that is known before it runs; an error if they are of other types.
  absl::Status Describe(const std::vector<DataType>& types);
  // Runs once on tensors that are read where they are.
  absl::Status Run(tensorflow::OpKernelContext* context, const std::vector<DataType>& types,
                   std::vector<Tensor>* outputs);

 private:
  absl::Status Infer(ov_infer_request_t* request, tensorflow::OpKernelContext* context,
                     const std::vector<DataType>& types, std::vector<Tensor>* outputs);
  ov_compiled_model_t* const compiled_;
  bool writes_in_place_ = false;  // the shapes of all outputs are known
  std::vector<TensorShape> shapes_;
  std::mutex mutex_;
  std::vector<ov_infer_request_t*> idle_;
};

// A segment's model. The first shapes get a form of their own, all others share an open one; what that fails on gets its
// own again. Where calls keep coming from several threads at once, one more form takes them side by side.
class Segment {
 public:
  Segment(std::shared_ptr<const ModelData> model, Config config, std::vector<DataType> inputs,
          std::vector<DataType> outputs)
      : model_(std::move(model)), config_(std::move(config)), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  bool Is(const ModelData& model, const Config& config, const std::vector<DataType>& inputs,
          const std::vector<DataType>& outputs) const {
    return config_ == config && inputs_ == inputs && outputs_ == outputs && *model_ == model;
  }
  // Any number of threads may run it. If it fails, its words are those of OpenVINO.
  absl::Status Run(tensorflow::OpKernelContext* context, std::vector<Tensor>* outputs);

 private:
  using Key = std::vector<int64_t>;
  using Made = absl::StatusOr<std::shared_ptr<Form>>;

  absl::Status RunFirst(tensorflow::OpKernelContext* context, const Key& key, std::vector<Tensor>* outputs);
  Made Own(tensorflow::OpKernelContext* context, const Key& key);
  Made Open();
  std::shared_ptr<Form> Crowded(int running);
  Made Compile(tensorflow::OpKernelContext* shapes_of, const Config& extra);

  const std::shared_ptr<const ModelData> model_;
  const Config config_;
  const std::vector<DataType> inputs_, outputs_;
  std::mutex mutex_;  // never held while something is compiled
  std::map<Key, std::shared_future<Made>> own_;
  std::deque<Key> order_;  // of `own_`, oldest first
  std::shared_future<Made> open_;
  std::set<Key> refused_;  // which could not be compiled
  bool is_static_ = false, has_no_open_form_ = false;
  int running_ = 0, met_ = 0;
  std::shared_ptr<Form> crowded_;
};

}  // namespace icebreaker

#endif  // ICEBREAKER_NATIVE_OPENVINO_H_
