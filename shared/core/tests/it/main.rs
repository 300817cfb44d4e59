//! Claims about the engine, driven through its effects in a seeded world.

mod convergence;
mod story;
mod world;
