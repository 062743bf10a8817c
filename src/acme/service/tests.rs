//! The service before a CA on loopback, with a real state folder. Time is paused: days pass while all wait.

mod disk;
mod orders;
mod scene;
