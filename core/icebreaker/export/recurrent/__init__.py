"""Recurrent networks: loops of a graph that are an LSTM, a GRU or a plain RNN, and how they are exported as one."""
