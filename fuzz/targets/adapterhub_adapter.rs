#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::library::adapterhub_adapter);
