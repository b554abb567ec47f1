//! Tests of TopicHub's core: tables for single rules, properties for sequences of operations.
