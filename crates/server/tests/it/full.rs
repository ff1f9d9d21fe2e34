//! Whether tests take their full length, or one that fits into CI.

/// With `FAIRLEAD_TEST_FULL=1`, as `make test-all` sets it.
pub(crate) fn full() -> bool {
    std::env::var_os("FAIRLEAD_TEST_FULL").is_some_and(|value| value == "1")
}
