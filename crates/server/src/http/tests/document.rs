//! The OpenAPI document: a change of the API is a visible diff, and what the document says holds together.

use std::collections::HashSet;

use serde_json::Value;

use super::Site;
use crate::http::operations::table;

#[test]
fn a_change_of_the_api_is_seen() {
    let document = crate::http::openapi::document(&table());
    let text = serde_json::to_string_pretty(&document).unwrap();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("openapi", text);
    });
}

#[test]
fn each_operation_and_route_is_there_once_and_has_a_name_of_its_resource() {
    let (mut ids, mut routes) = (HashSet::new(), HashSet::new());
    for operation in table() {
        assert!(ids.insert(operation.id), "{}", operation.id);
        assert!(routes.insert((operation.method.clone(), operation.path)), "{}", operation.path);
        assert!(operation.about.starts_with(char::is_uppercase) && !operation.about.ends_with('.'));
        assert!(operation.path.starts_with("/api/v1/") || operation.id.starts_with("system."));
        // What changes something is not asked for by a method that anybody may repeat or follow as a link.
        let needs = operation.access.permission().map_or("", |permission| permission.as_str());
        let looks = needs.ends_with(".view") || needs == "jobs.logs";
        assert!(!looks || !operation.is_mutation(), "{}", operation.id);
        // To manage is to look, too; and everybody may look at themselves.
        let is_both = needs.ends_with(".manage") || needs == "namespaces.change" || needs.is_empty();
        assert!(looks || is_both || operation.is_mutation(), "{}", operation.id);
    }
    assert!(ids.len() > 60, "{}", ids.len());
}

#[test]
fn every_reference_leads_somewhere_and_everything_has_words() {
    let document = crate::http::openapi::document(&table());
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled: HashSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for operation in operations.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().unwrap();
            let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let named: HashSet<&str> = of_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(named, filled, "{path}");
            for parameter in parameters {
                let name = &parameter["name"];
                assert!(parameter["description"].is_string(), "{path}: {name} has no words");
            }
        }
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                found.push(reference.to_owned());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let site = Site::new();
    let served = site.get("/api/v1/openapi.json").await.good();
    assert_eq!(served, crate::http::openapi::document(&table()));
    assert_eq!(served["openapi"], "3.1.0");
}
