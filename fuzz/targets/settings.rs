#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::settings::settings);
