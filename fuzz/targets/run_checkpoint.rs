#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::library::run_checkpoint);
