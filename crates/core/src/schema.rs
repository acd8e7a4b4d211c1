//! JSON schemas of what is written as a text or a number: the form that the readers of these types accept and their
//! writers give. What is written field by field derives its schema where it is defined.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::bulk::OnFailure;
use crate::id::{EventId, JobId, ProcessId, TokenId, WorkerId};
use crate::limit::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::name::{
    Actor, AttachmentName, BulkTypeName, GeneratorName, Kind, Namespace, Owner, QueueName, ScheduleName,
    ServiceName, SourceName, StepName, TokenName, Topic, TriggerId, UserName, WebhookName,
};
use crate::priority::Priority;
use crate::schedule::ArgsTemplate;
use crate::search::ArgsMatch;
use crate::time::Timestamp;
use crate::trigger::{TopicPattern, Trigger};

/// Each of these stands where it is used: a reference to "a text" would tell nobody anything.
macro_rules! inline {
    ($($type:ty: $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

inline! {
    JobId: id("the id of a job");
    EventId: id("the id of an event");
    WorkerId: id("the id of a worker");
    TokenId: id("the id of a token");
    ProcessId: id("the id of a run of a program");
    ServiceName: name("the name of a service");
    TokenName: name("the name of a token");
    AttachmentName: name("the name of an attachment");
    StepName: name("the name of a step of a job");
    UserName: name("the name of a user");
    Kind: name("the name of a task");
    QueueName: name("the name of a queue");
    Namespace: name("the name of a namespace");
    ScheduleName: name("the name of a schedule");
    TriggerId: name("the name of a trigger within its schedule");
    SourceName: name("the name of an event source");
    GeneratorName: name("the name of a generator");
    WebhookName: name("the name of an endpoint of webhooks");
    BulkTypeName: name("the name of a type of bulk");
    Topic: name("what an event is about");
    Owner: text("whose it is");
    Actor: text("who did it");
    ArgsMatch: json_schema!({
        "type": "string",
        "description": "what stands at a path in the arguments, like customer.id=42 or items.*.name=blue*",
        "minLength": 2,
        "maxLength": TEXT_BYTES_MAX,
        "pattern": "=",
    });
    TopicPattern: json_schema!({ "type": "string", "description": "a topic; * stands for one part, ** for any number" });
    OnFailure: json_schema!({ "type": "string", "description": "continue, stop, or how many may fail: 100 or 5%" });
    Timestamp: json_schema!({ "type": "string", "format": "date-time" });
    ArgsTemplate: json_schema!({ "description": "any JSON; texts may have placeholders such as {due}" });
    Trigger: json_schema!({
        "type": "object",
        "description": "when it fires: `type` is every, cron, at, after, daily, monthly, event or custom",
        "properties": { "type": { "type": "string" } },
        "required": ["type"],
    });
    Priority: json_schema!({
        "type": ["integer", "string"],
        "description": "the lower number runs first; realtime is 1000, high 1500, default 2000, bulk 3000, idle 4000",
    });
}

fn id(what: &str) -> Schema {
    json_schema!({ "type": "string", "format": "uuid", "description": what })
}

fn name(what: &str) -> Schema {
    json_schema!({
        "type": "string",
        "description": what,
        "minLength": 1,
        "maxLength": NAME_BYTES_MAX,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
    })
}

fn text(what: &str) -> Schema {
    json_schema!({ "type": "string", "description": what, "minLength": 1, "maxLength": TEXT_BYTES_MAX })
}
