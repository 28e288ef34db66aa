#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::library::checkpoint_index);
