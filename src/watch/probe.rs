//! The probe: what the pipeline and every module hold their tensors up to. Editors may exchange a tensor, observers see
//! what goes on.

use crate::error::{Error, Result};
use crate::watch::editor::Editor;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::{Axes, Branch, Grid, Rows, Site};
use std::cell::{Cell, RefCell};
use tch::Tensor;

/// All editors and observers of a run.
pub struct Probe<'a> {
    editors: RefCell<Vec<&'a mut dyn Editor>>,
    observers: RefCell<Vec<&'a mut dyn Observer>>,
    step: Cell<usize>,
    rows: RefCell<Rows>,
}

impl<'a> Probe<'a> {
    /// A probe for these observers.
    pub fn new(observers: Vec<&'a mut dyn Observer>) -> Probe<'a> {
        let rows = RefCell::new(Rows::plain(1));
        Probe { editors: RefCell::default(), observers: RefCell::new(observers), step: 0.into(), rows }
    }

    /// A probe that nobody looks through.
    pub fn silent() -> Probe<'static> {
        Probe::new(vec![])
    }

    /// The same with editors, who come before the observers, in this order.
    pub fn with_editors(self, editors: Vec<&'a mut dyn Editor>) -> Probe<'a> {
        Probe { editors: RefCell::new(editors), ..self }
    }

    /// The step that is going on; sites are reported with it.
    pub fn set_step(&self, step: usize) {
        self.step.set(step);
    }

    /// Whose the rows of the tensors are that come now.
    pub fn set_rows(&self, rows: Rows) {
        *self.rows.borrow_mut() = rows;
    }

    /// Whose the rows are now.
    pub fn rows(&self) -> Rows {
        self.rows.borrow().clone()
    }

    /// Whether any observer wants this.
    pub fn wants(&self, ask: Ask) -> bool {
        self.observers.borrow().iter().any(|o| o.wants(ask))
    }

    /// Whether any observer wants the tensor at this site now.
    pub fn wants_site(&self, name: &str) -> bool {
        self.wants(Ask::Site(name, self.step.get()))
    }

    /// Whether any observer of this site wants this branch's rows of it.
    pub fn wants_branch(&self, name: &str, branch: Branch) -> bool {
        let ask = Ask::Site(name, self.step.get());
        self.observers.borrow().iter().any(|o| o.wants(ask) && o.wants_branch(branch))
    }

    /// The queries that are enough for all observers who want one of these sites, in their order; `None` where one of them
    /// wants those of all places.
    pub fn wanted_queries(&self, names: [&str; 2], grid: Grid) -> Option<Vec<i64>> {
        let (step, mut all) = (self.step.get(), vec![]);
        for name in names {
            for observer in self.observers.borrow().iter().filter(|o| o.wants(Ask::Site(name, step))) {
                all.extend(observer.wants_queries(name, step, grid)?);
            }
        }
        all.sort_unstable();
        all.dedup();
        Some(all)
    }

    /// Whether anybody may change anything.
    pub fn has_editors(&self) -> bool {
        !self.editors.borrow().is_empty()
    }

    /// Whether any editor may change the tensor at this site now.
    pub fn edits(&self, name: &str) -> bool {
        self.editors.borrow().iter().any(|e| e.wants(name, self.step.get()))
    }

    /// What a module does with its result: editors exchange it, in their order, then observers see what goes on.
    ///
    /// # Errors
    /// An editor's or an observer's; [`Error::Cancelled`] if one says `Stop`; when an editor gives a tensor of another
    /// shape, dtype or device.
    pub fn pass(&self, name: &str, axes: Axes, tensor: Tensor) -> Result<Tensor> {
        self.pass_piece(name, axes, 0, tensor)
    }

    /// As [`Probe::pass`], for the queries from `first_query` on of attention scores or probabilities.
    ///
    /// # Errors
    /// As [`Probe::pass`].
    pub fn pass_piece(&self, name: &str, axes: Axes, first_query: i64, tensor: Tensor) -> Result<Tensor> {
        if !self.edits(name) && !self.wants_site(name) {
            return Ok(tensor);
        }
        let rows = self.rows();
        let site = self.site(name, axes, &rows, first_query, &tensor);
        let tensor = self.edit(&site, tensor)?;
        self.show(&site, &tensor)?;
        Ok(tensor)
    }

    /// Shows the tensor at a site that cannot be changed to those who want it.
    ///
    /// # Errors
    /// An observer's; [`Error::Cancelled`] if one says `Stop`.
    pub fn see(&self, name: &str, axes: Axes, tensor: &Tensor) -> Result<()> {
        if !self.wants_site(name) {
            return Ok(());
        }
        self.see_rows(name, axes, &self.rows(), 0, tensor)
    }

    /// Shows some rows of a tensor, and of attention some queries, to those who want the site.
    ///
    /// # Errors
    /// As [`Probe::see`].
    pub fn see_rows(&self, name: &str, axes: Axes, rows: &Rows, first_query: i64, tensor: &Tensor) -> Result<()> {
        self.show(&self.site(name, axes, rows, first_query, tensor), tensor)
    }

    fn site<'s>(&self, name: &'s str, axes: Axes, rows: &'s Rows, first_query: i64, tensor: &Tensor) -> Site<'s> {
        Site { name, axes, step: self.step.get(), rows, grid: axes.grid(&tensor.size()), first_query }
    }

    /// Has the editors change a tensor.
    ///
    /// # Errors
    /// An editor's; when it gives a tensor of another shape, dtype or device.
    pub fn edit(&self, site: &Site, mut tensor: Tensor) -> Result<Tensor> {
        for editor in self.editors.borrow_mut().iter_mut().filter(|e| e.wants(site.name, site.step)) {
            let Some(edited) = editor.edit(site, &tensor)? else { continue };
            let same = edited.size() == tensor.size() && edited.kind() == tensor.kind();
            if !same || edited.device() != tensor.device() {
                return Err(Error::invalid(
                    format!(
                        "an editor gave {:?} {:?} on {:?} for `{}`, which is {:?} {:?} on {:?}",
                        edited.kind(),
                        edited.size(),
                        edited.device(),
                        site.name,
                        tensor.kind(),
                        tensor.size(),
                        tensor.device()
                    ),
                    "an edited tensor keeps its shape, dtype and device",
                ));
            }
            tensor = edited;
        }
        Ok(tensor)
    }

    /// Shows a tensor to the observers who want it.
    ///
    /// # Errors
    /// As [`Probe::see`].
    pub fn show(&self, site: &Site, tensor: &Tensor) -> Result<()> {
        for observer in self.observers.borrow_mut().iter_mut() {
            if observer.wants(Ask::Site(site.name, site.step)) {
                // Stopping in the middle of a step: what this step computed so far is lost, earlier steps stay.
                if observer.on_event(&Event::Tensor(*site, tensor))? == Flow::Stop {
                    return Err(Error::Cancelled);
                }
            }
        }
        Ok(())
    }

    /// Shows an event to everybody; `Stop` if anybody says so.
    ///
    /// # Errors
    /// An observer's.
    pub fn tell(&self, event: &Event) -> Result<Flow> {
        let mut flow = Flow::Continue;
        for observer in self.observers.borrow_mut().iter_mut() {
            if observer.on_event(event)? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        Ok(flow)
    }
}

/// A probe's editors and observers, as an editor and an observer of a second probe: for a part of the model that is gone
/// through in another way than the rest.
#[derive(Clone, Copy)]
pub struct Through<'a, 'p> {
    probe: &'a Probe<'p>,
    axes: fn(Axes) -> Axes,
}

impl<'a, 'p> Through<'a, 'p> {
    /// Sites arrive there with other axes.
    pub fn new(probe: &'a Probe<'p>, axes: fn(Axes) -> Axes) -> Through<'a, 'p> {
        Through { probe, axes }
    }

    /// Runs `work` with a probe behind which these editors are, and the observer `watcher`.
    pub fn with<T>(self, watcher: &mut dyn Observer, work: impl FnOnce(&Probe) -> T) -> T {
        let mut editor = self;
        let inner = Probe::new(vec![watcher]).with_editors(vec![&mut editor]);
        inner.set_step(self.probe.step.get());
        inner.set_rows(self.probe.rows());
        work(&inner)
    }
}

impl Observer for Through<'_, '_> {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(..)) && self.probe.wants(ask)
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        self.probe.observers.borrow().iter().any(|o| o.wants_branch(branch))
    }

    fn wants_queries(&self, site: &str, _: usize, grid: Grid) -> Option<Vec<i64>> {
        self.probe.wanted_queries([site, site], grid)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event {
            self.probe.show(&Site { axes: (self.axes)(site.axes), ..*site }, tensor)?;
        }
        Ok(Flow::Continue)
    }
}

impl Editor for Through<'_, '_> {
    fn wants(&self, site: &str, step: usize) -> bool {
        self.probe.editors.borrow().iter().any(|e| e.wants(site, step))
    }

    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        self.probe.edit(&Site { axes: (self.axes)(site.axes), ..*site }, tensor.shallow_clone()).map(Some)
    }
}
