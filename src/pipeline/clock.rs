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
