// Runs a graph that icebreaker.load(…).write_native(…) wrote, without Python: two inputs, one output, as text.
//
// cc run_graph.c -I tensorflow/include -L tensorflow -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
// ICEBREAKER_OPENVINO=…/libopenvino_c.so.2641 ./a.out libicebreaker-tf2.21.0.so graph.pb x ids probabilities 3

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(TF_Status* status) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s\n", TF_Message(status));
  exit(1);
}

static TF_Buffer* whole(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(2);
  const long size = ftell(file);
  char* data = malloc(size);
  rewind(file);
  if (fread(data, 1, size, file) != (size_t)size) exit(2);
  fclose(file);
  return TF_NewBufferFromString(data, size);
}

int main(int count, char** words) {
  if (count != 7) return 2;
  TF_Status* status = TF_NewStatus();
  TF_LoadLibrary(words[1], status);
  check(status);
  TF_Graph* graph = TF_NewGraph();
  TF_ImportGraphDefOptions* options = TF_NewImportGraphDefOptions();
  TF_GraphImportGraphDef(graph, whole(words[2]), options, status);
  check(status);
  TF_Session* session = TF_NewSession(graph, TF_NewSessionOptions(), status);
  check(status);

  const int64_t rows = atoi(words[6]), x_shape[] = {rows, 8}, ids_shape[] = {rows, 4};
  TF_Tensor* x = TF_AllocateTensor(TF_FLOAT, x_shape, 2, rows * 8 * sizeof(float));
  TF_Tensor* ids = TF_AllocateTensor(TF_INT32, ids_shape, 2, rows * 4 * sizeof(int));
  for (int i = 0; i < rows * 8; ++i) ((float*)TF_TensorData(x))[i] = i / 8.0f;
  for (int i = 0; i < rows * 4; ++i) ((int*)TF_TensorData(ids))[i] = i % 10;
  const TF_Output inputs[] = {{TF_GraphOperationByName(graph, words[3]), 0},
                              {TF_GraphOperationByName(graph, words[4]), 0}};
  const TF_Output output = {TF_GraphOperationByName(graph, words[5]), 0};
  TF_Tensor *values[] = {x, ids}, *result = NULL;
  TF_SessionRun(session, NULL, inputs, values, 2, &output, &result, 1, NULL, 0, NULL, status);
  check(status);
  const size_t numbers = TF_TensorByteSize(result) / sizeof(float);
  for (size_t i = 0; i < numbers; ++i) printf("%.9g\n", ((float*)TF_TensorData(result))[i]);
  return 0;
}
