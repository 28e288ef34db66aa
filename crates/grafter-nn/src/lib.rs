//! Pure f32 operations of a Transformer encoder with adapters.
