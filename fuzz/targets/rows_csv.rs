#![no_main]

grafter_fuzz::fuzzer!(grafter_fuzz::library::rows_csv);
