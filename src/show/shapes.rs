//! The tensors of a run, each at its site, as a table.

use crate::record::schema::SiteRow;
use crate::show::table::Table;
use std::fmt;
use std::ops::Deref;

/// Tensors in the order of computation. It is a list of [`SiteRow`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes(Vec<SiteRow>);

impl Shapes {
    /// From the rows of a shape log.
    pub fn new(rows: Vec<SiteRow>) -> Shapes {
        Shapes(rows)
    }

    /// The rows.
    pub fn rows(&self) -> &[SiteRow] {
        &self.0
    }

    /// The shape of the tensor at a site.
    pub fn of(&self, site: &str) -> Option<Vec<i64>> {
        self.0.iter().find(|row| row.name == site).map(|row| row.shape.clone())
    }

    /// The dozen that a lecturer points at.
    #[must_use]
    pub fn brief(&self) -> Shapes {
        Shapes(self.0.iter().filter(|row| row.brief).cloned().collect())
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let row = |row: &SiteRow| {
            let whole = row.dtype.starts_with('i');
            let number = |value: f64| if whole { format!("{value:.0}") } else { format!("{value:.3}") };
            let (mean, std) = (format!("{:.3}", row.mean), format!("{:.3}", row.std));
            let (name, symbolic, shape) = (row.name.clone(), row.symbolic.clone(), format!("{:?}", row.shape));
            vec![name, symbolic, shape, row.dtype.clone(), number(row.min), number(row.max), mean, std]
        };
        let titles = vec!["tensor", "shape", "=", "dtype", "min", "max", "mean", "std"];
        Table { heading: String::new(), titles, rows: self.0.iter().map(row).collect(), numbers: 4..8 }
    }

    /// Shows the table where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

impl fmt::Display for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.table().fmt(f)
    }
}

impl Deref for Shapes {
    type Target = [SiteRow];

    fn deref(&self) -> &[SiteRow] {
        &self.0
    }
}

impl IntoIterator for Shapes {
    type Item = SiteRow;
    type IntoIter = std::vec::IntoIter<SiteRow>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
