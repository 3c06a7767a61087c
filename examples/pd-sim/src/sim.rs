//! The cluster and its clock, shared by all request handlers.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::world::{ClusterSpec, World};

#[derive(Debug)]
pub(crate) struct Sim {
    clock: Mutex<Clock>,
    world: Mutex<World>,
    /// Number of requests to any PD.
    pub(crate) requests: AtomicU64,
}

impl Sim {
    pub(crate) fn new(spec: &ClusterSpec, rate: f64) -> Self {
        let clock = Clock::new(rate);
        Self::of(World::create(spec, clock.read().now), clock)
    }

    pub(crate) fn of(world: World, clock: Clock) -> Self {
        Self {
            clock: Mutex::new(clock),
            world: Mutex::new(world),
            requests: AtomicU64::new(0),
        }
    }

    /// The cluster, advanced to the current time.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.clock().read());
        world
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
