//! Small adapters on one frozen Transformer encoder.
