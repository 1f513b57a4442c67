use super::*;

fn check_options(options: &str) -> Result<(), String> {
    check(&format!(
        "mongodb://user:s3cret@127.0.0.1:27017/name?{options}"
    ))
}

#[track_caller]
fn refused(options: &str, wants: &str) {
    let told = check_options(options).expect_err(options);
    assert!(
        told.contains(wants),
        "{options}: {told:?} does not say {wants:?}"
    );
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn each_option_that_would_weaken_the_promise_is_refused_by_its_name_and_value() {
    for (name, good, bad) in [
        ("readPreference", "primary", "secondary"),
        ("readPreference", "primary", "primaryPreferred"),
        ("w", "majority", "1"),
        ("journal", "true", "false"),
        ("readConcernLevel", "majority", "local"),
        ("retryWrites", "true", "false"),
        ("retryReads", "true", "false"),
        ("directConnection", "false", "true"),
        ("loadBalanced", "false", "true"),
    ] {
        refused(
            &format!("{name}={bad}"),
            &format!("{name}={good}, not {bad}: "),
        );
        assert_eq!(check_options(&format!("{name}={good}")), Ok(()));
        // Names are written in any case.
        refused(&format!("{}={bad}", name.to_uppercase()), name);
    }
}

#[test]
fn options_that_contradict_each_other_are_told_by_name() {
    for (options, wants) in [
        ("tls=true&ssl=false", "no ssl=false beside tls=true: "),
        ("ssl=true&tls=false", "no tls=false beside ssl=true: "),
        ("tls=false&ssl=true", "no tls=false beside ssl=true: "),
        ("tlsCAFile=x&tls=false", "no tls=false beside tlsCAFile: "),
        ("tls=false&tlsCAFile=x", "no tls=false beside tlsCAFile: "),
        (
            "tlsInsecure=true&ssl=false",
            "no ssl=false beside tlsInsecure: ",
        ),
        (
            "tlsInsecure=true&tlsAllowInvalidCertificates=false",
            "no tlsAllowInvalidCertificates=false beside tlsInsecure=true: ",
        ),
    ] {
        refused(options, wants);
    }
    for good in [
        "tls=true&ssl=true",
        "ssl=false&tls=false",
        "tls=true&tlsCAFile=x",
    ] {
        assert_eq!(check_options(good), Ok(()), "{good}");
    }
}

#[test]
fn what_is_wanted_has_the_right_article() {
    refused("appName=", "an appName of 1 to ");
    refused("authSource=", "an authSource of 1 to ");
    refused("replicaSet=", "a replicaSet of 1 to ");
}

#[test]
fn a_number_is_taken_within_its_bounds_only() {
    for option in OPTIONS {
        let Rule::Between(least, most) = option.rule else {
            continue;
        };
        let name = option.name;
        for good in [least, most] {
            assert_eq!(check_options(&format!("{name}={good}")), Ok(()), "{name}");
        }
        let beyond = (most + 1).to_string();
        for bad in [&beyond, "-1", "1.5", "many", ""] {
            refused(
                &format!("{name}={bad}"),
                &format!("{name} from {least} to {most}, not {bad}"),
            );
        }
        if let Some(below) = least.checked_sub(1) {
            refused(&format!("{name}={below}"), name);
        }
    }
}

#[test]
fn every_value_that_the_table_lists_is_one_that_the_driver_takes() {
    for option in OPTIONS {
        let values: &[&str] = match option.rule {
            Rule::Only(values) => values,
            // Of a mongodb+srv:// address only.
            Rule::Text { .. } if option.name != "srvServiceName" => &["x"],
            Rule::Overridden => &["whatever"],
            _ => continue,
        };
        for value in values {
            let given = format!("{}={value}", option.name);
            // That mechanism has no password.
            let login = if *value == "MONGODB-X509" {
                ""
            } else {
                "user:s3cret@"
            };
            let uri = format!("mongodb://{login}127.0.0.1/?{given}");
            assert_eq!(check(&uri), Ok(()), "{given}");
        }
    }
    assert_eq!(
        check("mongodb+srv://a.example.com/?srvServiceName=x"),
        Ok(())
    );
}

#[test]
fn what_the_service_can_do_nothing_with_is_refused_by_its_name() {
    for option in OPTIONS {
        if option.rule == Rule::Refused {
            refused(
                &format!("{}=s3cret", option.name),
                &format!("no {}: ", option.name),
            );
        }
    }
    refused("readPreferance=primary", "no option \"readPreferance\"");
    refused("replicaSet=", "a replicaSet of");
    refused(
        &format!("appName={}", "a".repeat(129)),
        "appName of 1 to 128 bytes",
    );
    refused("w=majority&W=majority", "w once, not twice");
    refused("tls=false&tlsCAFile=ca.pem", "tlsCAFile");
    refused("w", "name=value");
}

#[test]
fn a_password_that_is_not_encoded_is_told_of_and_not_shown() {
    for uri in [
        "mongodb://user:s3c?ret@127.0.0.1/",
        "mongodb://user:s3c?w=s3cret@127.0.0.1/",
        "mongodb://user:s3c/ret@127.0.0.1/",
        "mongodb://user:s3c%ret@127.0.0.1/",
        "mongodb://user:s3c@ret@127.0.0.1/",
    ] {
        assert_eq!(check(uri), Err(ENCODED.to_owned()), "{uri}");
    }
    for uri in ["mongodb://user:s3cret", "user:s3cret@127.0.0.1", "s3cret"] {
        assert_eq!(check(uri), Err(FORM.to_owned()), "{uri}");
    }
    let strange = check("mongodb://127.0.0.1/?s3cret%40=1").unwrap_err();
    assert!(!strange.contains("s3cret"), "{strange}");
}

#[test]
fn what_is_overridden_does_not_reach_the_driver() {
    let uri = "mongodb://127.0.0.1/name?socketTimeoutMS=1&w=majority&WTimeoutMS=x";
    let (effective, overridden) = without_overridden(uri);
    assert_eq!(effective, "mongodb://127.0.0.1/name?w=majority");
    assert_eq!(overridden, ["socketTimeoutMS", "wtimeoutMS"]);
}

#[test]
fn a_file_for_tls_without_a_certificate_in_it_is_told_with_its_option() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for option in ["tlsCAFile", "tlsCertificateKeyFile"] {
        for path in [path.display().to_string(), "/not/there".to_owned()] {
            let uri = format!("mongodb://127.0.0.1/?{option}={path}");
            let tls = ConnectionString::parse(uri).unwrap().tls;
            let told = check_files(tls.as_ref()).unwrap_err();
            assert!(told.contains(option) && told.contains(&path), "{told}");
        }
    }
    assert_eq!(check_files(None), Ok(()));
}
