//! The reference model: a store in memory, of plain ordered maps.
