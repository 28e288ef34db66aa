#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::serve::request::request);
