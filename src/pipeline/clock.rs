//! Where the time goes: seconds per stage of a run.

use crate::record::schema::Stage;
use std::cell::RefCell;
use std::time::Instant;
use tch::Device;

/// Adds up the time of named stages.
#[derive(Debug)]
pub struct Clock {
    device: Device,
    stages: RefCell<Vec<Stage>>,
}

impl Clock {
    /// A clock for work on `device`.
    pub fn new(device: Device) -> Clock {
        Clock { device, stages: RefCell::default() }
    }

    /// Does the work and books its time on a stage. On a GPU it waits until the work is done.
    pub fn time<T>(&self, stage: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
        self.book(stage, start.elapsed().as_secs_f64());
        result
    }

    /// Does the work and books its time on a stage. On a GPU that is the time to hand it the work, which nobody waits for:
    /// [`Clock::wait`] books the rest.
    pub fn queue<T>(&self, stage: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.book(stage, start.elapsed().as_secs_f64());
        result
    }

    /// Looks at numbers. On a GPU that waits for all that was queued before, and the wait is booked on a stage.
    pub fn wait<T>(&self, stage: &str, look: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = look();
        if self.device != Device::Cpu {
            let mut stages = self.stages.borrow_mut();
            let queued = stages.iter_mut().filter(|queued| queued.name == stage);
            queued.for_each(|queued| queued.seconds += start.elapsed().as_secs_f64());
        }
        result
    }

    /// Books time on a stage.
    pub fn book(&self, stage: &str, seconds: f64) {
        let mut stages = self.stages.borrow_mut();
        match stages.iter_mut().find(|s| s.name == stage) {
            Some(found) => {
                found.seconds += seconds;
                found.count += 1;
            }
            None => stages.push(Stage { name: stage.into(), seconds, count: 1 }),
        }
    }

    /// The stages so far, in the order they first happened.
    pub fn stages(&self) -> Vec<Stage> {
        self.stages.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;
    use std::time::Duration;

    /// Where the device works beside the host, waiting for it is part of the stage; on the CPU looking is no part of it.
    #[test]
    fn what_is_waited_for_counts_for_the_stage_that_was_queued() {
        for (device, least, most) in [(Device::Mps, 0.02, 1e9), (Device::Cpu, 0.0, 0.02)] {
            let clock = Clock::new(device);
            let queued = clock.queue("unet", || 1);
            let seen = clock.wait("unet", || {
                sleep(Duration::from_millis(20));
                queued
            });
            clock.wait("nothing of this name", || ());
            let stages = clock.stages();
            assert_eq!((seen, stages.len(), stages[0].count), (1, 1, 1));
            assert!((least..most).contains(&stages[0].seconds), "{device:?}: {} s", stages[0].seconds);
        }
    }
}
