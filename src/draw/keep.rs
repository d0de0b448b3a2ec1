//! What a drawing keeps of its steps.

use crate::record::plan::Quantity;

/// Everything: all quantities of each step, the pictures of latents and predicted originals, and the shape log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct All;

/// What [`Drawing::record`](super::drawing::Drawing::record) takes: [`All`], a quantity, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The quantities of each step.
    pub quantities: Vec<Quantity>,
    /// Whether the shape log is kept too, and predicted originals are decoded.
    pub all: bool,
}

impl From<All> for Keep {
    fn from(_: All) -> Keep {
        Keep { quantities: Quantity::ALL.to_vec(), all: true }
    }
}

impl From<&[Quantity]> for Keep {
    fn from(quantities: &[Quantity]) -> Keep {
        let mut quantities = quantities.to_vec();
        quantities.sort_unstable();
        quantities.dedup();
        Keep { quantities, all: false }
    }
}

impl From<Vec<Quantity>> for Keep {
    fn from(quantities: Vec<Quantity>) -> Keep {
        Keep::from(&quantities[..])
    }
}

impl<const N: usize> From<[Quantity; N]> for Keep {
    fn from(quantities: [Quantity; N]) -> Keep {
        Keep::from(&quantities[..])
    }
}

impl<const N: usize> From<&[Quantity; N]> for Keep {
    fn from(quantities: &[Quantity; N]) -> Keep {
        Keep::from(&quantities[..])
    }
}

impl From<Quantity> for Keep {
    fn from(quantity: Quantity) -> Keep {
        Keep::from(&[quantity][..])
    }
}
