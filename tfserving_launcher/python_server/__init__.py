"""A stand-in for `tensorflow_model_server`, on the TensorFlow package.

    python -m tfserving_launcher.python_server --port=0 --grpc_socket_path=... --model_base_path=...

For laptops and tests on machines without the real program. It takes the flags that the launcher
sets, answers Predict, GetModelMetadata and GetModelStatus by gRPC, and ends as the real one ends:
same exit status, same last words, same status codes and messages where callers depend on them.
What the real one does is in the sources of tensorflow/serving; each module names the file.
"""
