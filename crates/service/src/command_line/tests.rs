//! What a command line is read as.

use messaging::{Consumer, EventType, Outcome, Received};

use super::{cli::Serve, *};

#[derive(Args)]
struct Options {
    /// How many there may be.
    #[arg(long, env = "TOY_MOST", default_value_t = 3)]
    most: u32,
}

fn serve(arguments: &[&str]) -> Serve<Options> {
    let toy = Service::new("toy", "0.1.0").options::<Options>();
    let needed = [
        "toy",
        "serve",
        "--mongo-uri=mongodb://127.0.0.1:1/?replicaSet=rs0",
    ];
    let arguments = needed
        .iter()
        .chain(&["--nats-url=nats://127.0.0.1:1"])
        .chain(arguments);
    let read = toy.command_line().try_get_matches_from(arguments).unwrap();
    match Cli::from_arg_matches(&read).unwrap().command {
        Command::Serve(serve) => *serve,
        _ => panic!("it is asked to serve"),
    }
}

#[test]
fn the_domains_own_settings_stand_beside_ours() {
    assert_eq!(serve(&[]).domain.most, 3);
    assert_eq!(serve(&["--most", "7"]).domain.most, 7);
}

#[test]
fn a_sibling_listens_on_ports_of_its_own_where_nobody_says_otherwise() {
    let defaults = |toy: Service, command: &str| {
        let commands = toy.command_line();
        let command = commands.find_subcommand(command).unwrap();
        let args = command
            .get_arguments()
            .filter(|arg| arg.get_id().as_str().ends_with("_addr"));
        let default = |arg: &clap::Arg| arg.get_default_values()[0].to_str().unwrap().to_owned();
        args.map(default).collect::<Vec<_>>()
    };
    let toy = || Service::new("toy", "0.1.0");
    assert_eq!(defaults(toy(), "serve"), ["0.0.0.0:3000", "127.0.0.1:9090"]);
    let other = || toy().ports(3001, 9091);
    assert_eq!(
        defaults(other(), "serve"),
        ["0.0.0.0:3001", "127.0.0.1:9091"]
    );
    assert_eq!(defaults(other(), "healthcheck"), ["0.0.0.0:3001"]);
    assert_eq!(defaults(other(), "publish"), ["127.0.0.1:9091"]);
}

type Toy = Service<Options>;

fn consumer(
    name: &'static str,
    stream: &'static str,
    r#type: &'static [&'static str],
) -> Consumer<crate::Context<Options>> {
    Consumer::newest_only(name, stream, r#type, |_, _, _: &Received<()>| {
        Box::pin(async { Ok(Outcome::Applied) })
    })
}

fn consuming() -> Toy {
    let toy = Service::new("toy", "0.1.0").options::<Options>();
    toy.consumes(|| consumer("price_lists", "PRICES", &["price.set"]))
        .consumes(|| consumer("orders", "ORDERS", &["order.created"]))
}

fn read(toy: &Toy, arguments: &[&str]) -> Result<clap::ArgMatches, clap::Error> {
    let servers = [
        "--mongo-uri=mongodb://127.0.0.1:1/?replicaSet=rs0",
        "--nats-url=nats://127.0.0.1:1",
    ];
    let arguments = [&["toy"], arguments, &servers].concat();
    toy.command_line().try_get_matches_from(arguments)
}

#[test]
fn each_consumers_name_makes_the_flag_of_its_stream() {
    let toy = consuming();
    for command in ["serve", "consume"] {
        let streams = |flags: &[&str]| {
            let arguments = [&[command], flags].concat();
            toy.streams(&read(&toy, &arguments).unwrap())
        };
        assert_eq!(streams(&[]), ["PRICES", "ORDERS"]);
        let other = ["--price-lists-stream=OTHER"];
        assert_eq!(streams(&other), ["OTHER", "ORDERS"]);
        let both = ["--orders-stream=SOME", "--price-lists-stream=OTHER"];
        assert_eq!(streams(&both), ["OTHER", "SOME"]);
    }
    assert!(read(&toy, &["serve", "--price-lists-stream=a.b"]).is_err());
    assert!(read(&toy, &["publish", "--price-lists-stream=OTHER"]).is_err());
}

#[tokio::test]
async fn a_part_that_a_service_does_not_have_is_refused_and_not_run_in_silence() {
    for (arguments, told) in [
        (&["consume"][..], "consumes nothing"),
        (&["serve", "--no-consumers"], "consumes nothing"),
        (&["publish"], "publishes nothing"),
    ] {
        let toy = Service::new("toy", "0.1.0").options::<Options>();
        let cli = Cli::from_arg_matches(&read(&toy, arguments).unwrap()).unwrap();
        let refused = toy.perform(cli.command, Vec::new()).await.unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
}

#[test]
fn the_streams_name_is_the_services_in_capitals_where_none_is_given() {
    assert_eq!(serve(&[]).servers.nats.nats_stream, "TOY");
    let given = serve(&["--nats-stream", "OTHER"]);
    assert_eq!(given.servers.nats.nats_stream, "OTHER");
}

#[test]
fn only_what_has_a_flag_has_another_name_for_it() {
    const CHANGED: EventType = EventType::of::<()>("price.changed");
    let toy = consuming().publishes(&[CHANGED]);
    let mut command = toy.command_line();
    let help = |path: [&str; 2]| {
        let mut command = &mut command;
        for name in path {
            command = command.find_subcommand_mut(name).unwrap();
        }
        command.render_long_help().to_string()
    };
    let [replay, retry, skip] =
        [["outbox", "replay"], ["inbox", "retry"], ["inbox", "skip"]].map(help);
    assert!(replay.contains("--price"), "{replay}");
    for help in [retry, skip] {
        assert!(!help.contains("alias"), "{help}");
    }
}
