"""Speed and memory of models on this machine: the documents' B1 throughput, B2 memory and B3 stability."""
