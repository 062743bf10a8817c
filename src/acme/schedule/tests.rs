//! What is due when, case by case; `years.rs` lets time run.

mod cases;
mod world;
mod years;
