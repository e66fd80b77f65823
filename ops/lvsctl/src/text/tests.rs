//! What is written is read again as the same text, whatever it holds.

use fulcrum_proto::v1;
use proptest::prelude::*;

use super::{Node, to_json, to_json_line, to_yaml};
use crate::manifest::read;

/// A site with this text as its description and as a label.
fn site(text: &str) -> v1::Resource {
    let labels = [("label".to_owned(), text.to_owned())].into();
    v1::Resource {
        metadata: Some(v1::Metadata { name: "main".to_owned(), labels, ..Default::default() }),
        spec: Some(v1::resource::Spec::Site(v1::Site { description: text.to_owned() })),
    }
}

fn comes_back(text: &str) {
    let site = site(text);
    let node = crate::manifest::resource_to_node(&site);
    for written in [to_yaml(&node), to_json(&node), to_json_line(&node)] {
        let mut mistakes = Vec::new();
        let manifests = read("f", &written, &mut mistakes);
        assert!(mistakes.is_empty(), "{written:?}: {mistakes:?}");
        let [manifest] = manifests.as_slice() else { panic!("one manifest: {written:?}") };
        assert_eq!(manifest.resource, site, "{written:?}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        comes_back(&text);
    }

    #[test]
    fn odd_text_comes_back(text in "[-?:,\\[\\]{}#&*!|>'\"%@` ~\\\\\t\n\r\u{85}\u{a0}\u{2028}\u{feff}a1.]{0,8}") {
        comes_back(&text);
    }
}

#[test]
fn only_what_may_be_mistaken_is_quoted() {
    for (text, expected) in [
        ("web-1.example", "web-1.example"),
        ("192.168.1.150/24", "192.168.1.150/24"),
        ("192.168.1.131:7400", "192.168.1.131:7400"),
        ("6s", "6s"),
        ("own probe passes", "own probe passes"),
        ("/index.html", "/index.html"),
        ("1111", "\"1111\""),
        ("0x1f", "\"0x1f\""),
        ("1e3", "\"1e3\""),
        ("-1.5", "\"-1.5\""),
        ("12:30", "\"12:30\""),
        ("2024-10-16", "\"2024-10-16\""),
        ("2024-10-16T05:53:52Z", "\"2024-10-16T05:53:52Z\""),
        ("true", "\"true\""),
        ("No", "\"No\""),
        ("null", "\"null\""),
        ("", "\"\""),
        ("a: b", "\"a: b\""),
        ("a #b", "\"a #b\""),
        (" a", "\" a\""),
        ("- a", "\"- a\""),
        ("a\nb", "\"a\\nb\""),
    ] {
        assert_eq!(to_yaml(&Node::text(text)), format!("{expected}\n"), "{text:?}");
    }
}
