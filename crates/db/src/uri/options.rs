//! The list itself.

use std::fmt;

/// What is done with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Counts, whatever it says.
    Text { longest: usize },
    /// Counts; only these values are taken.
    Only(&'static [&'static str]),
    /// Counts; only a whole number from the first to the second is taken.
    Between(u64, u64),
    /// Has no effect; the log says so.
    Overridden,
    /// Is not taken.
    Refused,
}

/// An option of the connection string, and what is done with it.
#[derive(Debug)]
pub struct UriOption {
    pub name: &'static str,
    pub rule: Rule,
    /// Why, in words that go behind a colon.
    pub why: &'static str,
}

/// An application's name is not taken by the server beyond this.
const LONGEST_NAME: usize = 128;
const LONGEST: usize = 4_096;
const YES_OR_NO: &[&str] = &["true", "false"];
const MECHANISMS: &[&str] = &["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "PLAIN"];
const TEXT: Rule = Rule::Text { longest: LONGEST };
/// A request is answered 503 soon after, and must not be saved later.
const REQUEST_MS: u64 = 8_000;

const TIME_LIMITS: &str = "the service limits the time of each operation itself";
const PROXY: &str = "the service is built without SOCKS";
const ANOTHER_MEMBER: &str = "it chooses secondaries, and reads are the primary's";
const ANYBODY: &str = "with `true` whoever is on the way can answer in MongoDB's place, and the log warns of it; tlsCAFile names a private authority";

/// Every option that there is a decision for; all others are refused. Names are compared without regard to case.
pub const OPTIONS: &[UriOption] = &[
    of(
        "appName",
        Rule::Text {
            longest: LONGEST_NAME,
        },
        "the service's name where it is not given",
    ),
    of(
        "authMechanism",
        Rule::Only(MECHANISMS),
        "what the service is built with",
    ),
    of(
        "authMechanismProperties",
        Rule::Refused,
        "none of the mechanisms that the service is built with has any",
    ),
    of("authSource", TEXT, "the database that knows the user"),
    of(
        "compressors",
        Rule::Overridden,
        "the service is built without compression",
    ),
    of(
        "connectTimeoutMS",
        Rule::Between(1, REQUEST_MS),
        "no connection is waited for longer than a request may take",
    ),
    of(
        "directConnection",
        Rule::Only(&["false"]),
        "the member may be a secondary, or become one, and the primary would not be looked for",
    ),
    of(
        "enableOverloadRetargeting",
        Rule::Only(YES_OR_NO),
        "which server is asked again when one is overloaded",
    ),
    of(
        "heartbeatFrequencyMS",
        Rule::Between(500, 10_000),
        "a new primary has to be found soon",
    ),
    of(
        "journal",
        Rule::Only(&["true"]),
        "what is acknowledged has to survive a loss of power",
    ),
    of(
        "loadBalanced",
        Rule::Only(&["false"]),
        "a replica set is wanted",
    ),
    of("localThresholdMS", Rule::Overridden, "there is one primary"),
    of(
        "maxAdaptiveRetries",
        Rule::Between(0, 5),
        "a request has no time for more",
    ),
    of(
        "maxConnecting",
        Rule::Between(2, 100),
        "connections that are made one after the other make a queue of the start",
    ),
    of(
        "maxIdleTimeMS",
        Rule::Between(10_000, 86_400_000),
        "below, each request would open a connection",
    ),
    of(
        "maxPoolSize",
        Rule::Between(10, 1_000),
        "below, requests wait for each other; above, a slow MongoDB gets slower",
    ),
    of("maxStalenessSeconds", Rule::Refused, ANOTHER_MEMBER),
    of(
        "minPoolSize",
        Rule::Between(0, 10),
        "no more than the smallest pool has",
    ),
    of("proxyHost", Rule::Refused, PROXY),
    of("proxyPassword", Rule::Refused, PROXY),
    of("proxyPort", Rule::Refused, PROXY),
    of("proxyUsername", Rule::Refused, PROXY),
    of(
        "readConcernLevel",
        Rule::Only(&["majority"]),
        "what is read must not be taken back",
    ),
    of(
        "readPreference",
        Rule::Only(&["primary"]),
        "a secondary answers with what is old, and in a transaction not at all",
    ),
    of("readPreferenceTags", Rule::Refused, ANOTHER_MEMBER),
    of(
        "replicaSet",
        TEXT,
        "the set's name, which each member is asked for",
    ),
    of(
        "retryReads",
        Rule::Only(&["true"]),
        "a read has to survive an election",
    ),
    of(
        "retryWrites",
        Rule::Only(&["true"]),
        "a write has to survive an election",
    ),
    of(
        "serverMonitoringMode",
        Rule::Only(&["auto", "stream", "poll"]),
        "how members are watched",
    ),
    of(
        "serverSelectionTimeoutMS",
        Rule::Between(1, REQUEST_MS),
        "what waits longer would be saved after its request was answered 503",
    ),
    of("socketTimeoutMS", Rule::Overridden, TIME_LIMITS),
    of(
        "srvMaxHosts",
        Rule::Refused,
        "it is for sharded clusters, and a replica set is wanted",
    ),
    of(
        "srvServiceName",
        TEXT,
        "of the records that a mongodb+srv:// address stands for",
    ),
    of("ssl", Rule::Only(YES_OR_NO), "the old name of tls"),
    of("timeoutMS", Rule::Overridden, TIME_LIMITS),
    of(
        "tls",
        Rule::Only(YES_OR_NO),
        "true for mongodb+srv://, else false, where it is not given",
    ),
    of(
        "tlsAllowInvalidCertificates",
        Rule::Only(YES_OR_NO),
        ANYBODY,
    ),
    of(
        "tlsAllowInvalidHostnames",
        Rule::Refused,
        "the name in the certificate is always checked",
    ),
    of(
        "tlsCAFile",
        TEXT,
        "PEM of the authorities that MongoDB's certificate is checked with, in place of the public ones; read at the start",
    ),
    of(
        "tlsCertificateKeyFile",
        TEXT,
        "PEM of our certificate and its key; read at the start",
    ),
    of(
        "tlsCertificateKeyFilePassword",
        Rule::Refused,
        "the service is built without encrypted keys",
    ),
    of("tlsInsecure", Rule::Only(YES_OR_NO), ANYBODY),
    of("uuidRepresentation", Rule::Overridden, "no UUID is stored"),
    of(
        "w",
        Rule::Only(&["majority"]),
        "what is acknowledged has to survive the loss of a member",
    ),
    of("waitQueueTimeoutMS", Rule::Overridden, TIME_LIMITS),
    of("wtimeoutMS", Rule::Overridden, TIME_LIMITS),
    of(
        "zlibCompressionLevel",
        Rule::Overridden,
        "the service is built without compression",
    ),
];

const fn of(name: &'static str, rule: Rule, why: &'static str) -> UriOption {
    UriOption { name, rule, why }
}

/// As the documentation shows it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { .. } => f.write_str("allowed"),
            Self::Only([only]) => write!(f, "`{only}`; else refused"),
            Self::Only(values) => write!(f, "`{}`; else refused", values.join("`, `")),
            Self::Between(least, most) => write!(f, "{least} to {most}; else refused"),
            Self::Overridden => f.write_str("overridden"),
            Self::Refused => f.write_str("refused"),
        }
    }
}
