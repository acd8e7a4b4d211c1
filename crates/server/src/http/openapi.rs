//! The OpenAPI document, from the table of operations.

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use taskwright_core::Namespace;
use taskwright_core::limit::NAMESPACES_MAX;

use super::authenticate::SESSION_COOKIE;
use super::body::BYTES;
use super::call::NAMESPACE;
use super::operation::{Access, Described, Operation};
use super::problem::{Details, MEDIA_TYPE, Sort};

/// Where the schemas stand in the document.
const PLACE: &str = "/components/schemas";

/// Makes schemas, of what is taken and of what is given: the same type may be read in more forms than it is written in.
pub(crate) struct Schemas {
    pub(crate) requests: SchemaGenerator,
    pub(crate) answers: SchemaGenerator,
}

/// The document.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let settings = |settings: SchemaSettings| {
        settings.with(|settings| {
            settings.definitions_path = PLACE.into();
            settings.meta_schema = None;
        })
    };
    let mut schemas = Schemas {
        requests: settings(SchemaSettings::draft2020_12().for_deserialize()).into_generator(),
        answers: settings(SchemaSettings::draft2020_12().for_serialize()).into_generator(),
    };
    let problem = schemas.answers.subschema_for::<Details>();
    let namespace = schemas.requests.subschema_for::<Namespace>();
    let mut paths = Map::new();
    for operation in operations {
        let described = operation.describe(&mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = of(operation, described, &namespace);
    }
    let mut definitions = schemas.requests.take_definitions(false);
    for (name, schema) in schemas.answers.take_definitions(false) {
        // A type that is both taken and given has one form; two of one name would be a mistake in the table.
        debug_assert!(definitions.get(&name).is_none_or(|known| *known == schema), "two forms of {name}");
        definitions.insert(name, schema);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Taskwright",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": "Durable background jobs. Every error is a problem (RFC 9457) whose `type` is urn:taskwright:problem:SORT.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": { "Problem": {
                "description": "What went wrong: what, why, and what to do.",
                "content": { MEDIA_TYPE: { "schema": problem } },
            } },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE },
            },
        },
        "security": [{ "token": [] }, { "session": [] }],
    });
    in_plain_words(&mut document);
    document
}

fn of(operation: &Operation, described: Described, namespace: &Schema) -> Value {
    let Described { path, query, body, answer: (status, media, schema) } = described;
    let mut parameters = parameters(&path, "path");
    parameters.extend(self::parameters(&query, "query"));
    if operation.access.permission().is_some() {
        parameters.push(match operation.takes_namespaces {
            true => json!({
                "name": NAMESPACE, "in": "query",
                "description": "These namespaces; left out, all that the caller may see.",
                "schema": { "type": "array", "items": namespace, "maxItems": NAMESPACES_MAX },
            }),
            false => json!({
                "name": NAMESPACE, "in": "query",
                "description": "The namespace. It may be left out by superusers, who then look at all and store in `default`, and by who has a role in one only.",
                "schema": namespace,
            }),
        });
    }
    for (name, about) in operation.headers {
        parameters.push(
            json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } }),
        );
    }
    let content = match schema {
        Some(schema) => json!({ media: { "schema": schema } }),
        None => json!({ media: { "schema": { "type": "string" } } }),
    };
    let mut responses = Map::new();
    responses
        .insert(status.as_str().to_owned(), json!({ "description": "It went well.", "content": content }));
    for status in problems(operation) {
        let problem = json!({ "$ref": "#/components/responses/Problem" });
        responses.insert(status.as_str().to_owned(), problem);
    }
    let mut told = json!({
        "operationId": operation.id,
        "summary": operation.about,
        "tags": [operation.id.split('.').next().unwrap_or_default()],
        "parameters": parameters,
        "responses": responses,
    });
    if operation.access == Access::Anyone {
        told["security"] = json!([]);
    }
    if let Some(permission) = operation.access.permission() {
        let own = if operation.access.is_of_own() { ", at least on what one has submitted" } else { "" };
        told["description"] = format!("Needs the permission `{permission}`{own}.").into();
    }
    if operation.takes_bytes {
        told["requestBody"] = json!({
            "required": true,
            "content": { BYTES: { "schema": { "type": "string", "contentMediaType": BYTES } } },
        });
    }
    if let Some((schema, is_optional)) = body {
        told["requestBody"] = json!({
            "required": !is_optional,
            "content": { "application/json": { "schema": schema } },
        });
    }
    told
}

/// The statuses of problems that an operation may answer: those of everything that it passes, and its own.
fn problems(operation: &Operation) -> Vec<StatusCode> {
    let mut sorts = vec![
        Sort::Misdirected,
        Sort::Invalid,
        Sort::Malformed,
        Sort::Internal,
        Sort::Unavailable,
        Sort::Slow,
        // A body may come with any request, and credentials that are good for nothing.
        Sort::TooLarge,
        Sort::SlowRequest,
        Sort::Unauthenticated,
        Sort::TooMany,
    ];
    if operation.access != Access::Anyone {
        sorts.extend([Sort::Forbidden, Sort::NotFound]);
    }
    if operation.is_mutation() {
        sorts.extend([Sort::NotJson, Sort::Forbidden, Sort::Conflict]);
    }
    let mut statuses: Vec<StatusCode> = sorts.into_iter().map(Sort::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// The fields of an object as parameters.
fn parameters(schema: &Schema, place: &str) -> Vec<Value> {
    let field = |name: &str| schema.get(name).and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|all| all.iter().any(|one| one == name));
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = without_null(schema.clone());
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({ "name": name, "in": place, "schema": schema });
        if place == "path" || is_required(name) {
            parameter["required"] = true.into();
        }
        if let Some(about) = about {
            parameter["description"] = about;
        }
        parameter
    };
    field("properties").into_iter().flatten().map(parameter).collect()
}

/// A parameter is there or not: it is never `null`.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| one != "null");
        if let [one] = &types[..] {
            schema["type"] = one.clone();
        }
    }
    if let Some(options) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        options.retain(|one| one.get("type").is_none_or(|of| of != "null"));
        if let [one] = &mut options[..] {
            let one = one.take();
            let about = schema.get("description").cloned();
            schema = one;
            if let (Some(about), Some(schema)) = (about, schema.as_object_mut()) {
                schema.insert("description".to_owned(), about);
            }
        }
    }
    if let Some(schema) = schema.as_object_mut()
        && schema.get("default").is_some_and(Value::is_null)
    {
        schema.remove("default");
    }
    schema
}

/// Descriptions are what the code says of its types. Who reads the document has no use for examples in Rust, nor for links into it.
fn in_plain_words(part: &mut Value) {
    match part {
        Value::Array(parts) => parts.iter_mut().for_each(in_plain_words),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => *text = plain(text),
                    field => in_plain_words(field),
                }
            }
        }
        _ => {}
    }
}

fn plain(text: &str) -> String {
    let text = text.split("\n\n# ").next().unwrap_or_default();
    let mut parts = text.split("[`");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("`]").unwrap_or((part, ""));
        let rest =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
        plain.extend(["`", name, "`", rest]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_have_no_links_and_no_examples_in_them() {
        let text = "A [`Tally`](taskwright_core::bulk::Tally), or [`None`] (of [two](x)).\n\nMore.\n\n# Example\n\n```\n```";
        assert_eq!(plain(text), "A `Tally`, or `None` (of [two](x)).\n\nMore.");
        let mut schema =
            json!({"anyOf": [{"description": "[`A`]"}], "properties": {"description": {"type": "string"}}});
        in_plain_words(&mut schema);
        assert_eq!(schema["anyOf"][0]["description"], "`A`");
        assert_eq!(schema["properties"]["description"]["type"], "string");
    }
}
