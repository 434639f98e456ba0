//! The transport as a driver sees it.
