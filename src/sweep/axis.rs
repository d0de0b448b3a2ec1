//! What a sweep varies: a field with its values, or words of the prompt with what stands in their place.

use super::field;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that a sweep varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// The field's name, or `replace:` and the words that are replaced.
    pub name: String,
    /// What a replacement's axis was called on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its values in the order of the grid.
    pub values: Vec<Value>,
}

impl Axis {
    /// An axis of a field.
    pub fn new(name: impl Into<String>, values: Vec<Value>) -> Axis {
        Axis { name: name.into(), title: None, values }
    }

    /// What stands on a grid: `guidance scale`, a replacement's name, or the words that are replaced.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or_else(|| field::title(&self.name))
    }
}
