//! Orders from plan to journal.

use super::*;

fn server(order: Option<&str>, drained: bool) -> WatchedServer {
    WatchedServer {
        real_server: "web1".parse().unwrap(),
        rip: "10.0.0.1".parse().unwrap(),
        port: fulcrum_model::Port::new(80).unwrap(),
        probe: fulcrum_model::ServerProbe::default(),
        restart: order.map(|id| RestartPlan {
            id: id.to_owned(),
            action: "restart".parse().unwrap(),
            even_if_serving: false,
        }),
        drained,
    }
}

fn actions(script: &str) -> Actions {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let common = BTreeMap::from([("restart".to_owned(), actions::ActionFile::Command(command))]);
    Actions::new(common, BTreeMap::new()).unwrap()
}

fn told(restarts: &Restarts) -> String {
    let evidence = restarts.evidence(&"web1".parse().unwrap());
    evidence.map_or_else(String::new, |told| format!("{:?} {}", told.state, told.detail))
}

#[tokio::test]
async fn an_order_is_carried_out_once_in_all_lives_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let counted = dir.path().join("count");
    let script = format!("echo once >> {}", counted.display());
    let count = || std::fs::read_to_string(&counted).unwrap_or_default().lines().count();
    let (mut restarts, mut ends) = Restarts::new(actions(&script), dir.path());
    assert!(!restarts.follow(&[server(None, true)]));
    assert!(restarts.follow(&[server(Some("a@1"), false)]));
    assert!(told(&restarts).starts_with("Waiting it takes new connections"));
    assert!(restarts.follow(&[server(Some("a@1"), true)]));
    assert_eq!(told(&restarts), "Running ");
    assert!(!restarts.follow(&[server(Some("a@1"), true)]), "no news");
    restarts.ended(ends.recv().await.unwrap());
    assert!(restarts.follow(&[server(Some("a@1"), true)]));
    assert_eq!((told(&restarts).as_str(), count()), ("Done ", 1));
    drop(restarts);
    let (mut restarts, mut ends) = Restarts::new(actions(&script), dir.path());
    restarts.follow(&[server(Some("a@1"), true)]);
    assert_eq!((told(&restarts).as_str(), count()), ("Done ", 1));
    restarts.follow(&[server(Some("a@2"), true)]);
    restarts.ended(ends.recv().await.unwrap());
    assert_eq!(count(), 2);
}

#[tokio::test]
async fn what_the_end_of_the_agent_interrupts_is_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut restarts, _ends) =
        Restarts::new(actions("exec cat /dev/zero > /dev/null"), dir.path());
    restarts.follow(&[server(Some("a@1"), true)]);
    assert_eq!(told(&restarts), "Running ");
    drop(restarts);
    let (mut restarts, _ends) = Restarts::new(actions("true"), dir.path());
    restarts.follow(&[server(Some("a@1"), true)]);
    assert!(told(&restarts).starts_with("Failed unknown: interrupted"), "{}", told(&restarts));
}

#[tokio::test]
async fn a_failure_is_told_with_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let (mut restarts, mut ends) = Restarts::new(actions("echo no such unit; exit 5"), dir.path());
    restarts.follow(&[server(Some("a@1"), true)]);
    restarts.ended(ends.recv().await.unwrap());
    restarts.follow(&[server(Some("a@1"), true)]);
    assert_eq!(told(&restarts), "Failed sh failed, exit status: 5: no such unit");
}

#[tokio::test]
async fn without_an_action_the_remedy_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut restarts, _ends) = Restarts::new(Actions::default(), dir.path());
    restarts.follow(&[server(Some("a@1"), true)]);
    assert!(told(&restarts).contains("put restart = [\"PROGRAM\""), "{}", told(&restarts));
}
