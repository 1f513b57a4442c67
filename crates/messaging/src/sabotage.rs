//! Defects on purpose, for `make chaos-convict` to see that its checker finds them. Compiled to nothing but in builds
//! with the feature `sabotage`, which no image and no release has.

/// Whether this build has the defect that the variable `SABOTAGE` names.
pub fn is(defect: &str) -> bool {
    cfg!(feature = "sabotage") && std::env::var("SABOTAGE").is_ok_and(|chosen| chosen == defect)
}
