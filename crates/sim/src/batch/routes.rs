//! Finds the operation for a method and a path.

use hyper::{Method, StatusCode};

use super::errors::BatchError;
use crate::http::decode;
use crate::scenario::Operation;

/// An operation with the ids from its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    ListPools,
    GetPool { pool: String },
    ListNodes { pool: String },
    GetNode { pool: String, node: String },
    NodeCounts,
    ListJobs,
    GetJob { job: String },
    ListTasks { job: String },
    GetTask { job: String, task: String },
    ListSubtasks { job: String, task: String },
    Upload { pool: String, node: String },
}

impl Route {
    pub(super) fn find(method: &Method, path: &str) -> Result<Self, BatchError> {
        let segments: Vec<_> = path.trim_matches('/').split('/').map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let own = |text: &str| text.to_owned();
        let (route, expected) = match segments.as_slice() {
            ["pools"] => (Self::ListPools, Method::GET),
            ["nodecounts"] => (Self::NodeCounts, Method::GET),
            ["pools", pool] => (Self::GetPool { pool: own(pool) }, Method::GET),
            ["pools", pool, "nodes"] => (Self::ListNodes { pool: own(pool) }, Method::GET),
            ["pools", pool, "nodes", node] => {
                (Self::GetNode { pool: own(pool), node: own(node) }, Method::GET)
            }
            ["jobs"] => (Self::ListJobs, Method::GET),
            ["jobs", job] => (Self::GetJob { job: own(job) }, Method::GET),
            ["jobs", job, "tasks"] => (Self::ListTasks { job: own(job) }, Method::GET),
            ["jobs", job, "tasks", task] => (Self::GetTask { job: own(job), task: own(task) }, Method::GET),
            ["jobs", job, "tasks", task, "subtasksinfo"] => {
                (Self::ListSubtasks { job: own(job), task: own(task) }, Method::GET)
            }
            ["pools", pool, "nodes", node, "uploadbatchservicelogs"] => {
                (Self::Upload { pool: own(pool), node: own(node) }, Method::POST)
            }
            _ => {
                let message = "The specified resource does not exist.";
                return Err(BatchError::new(StatusCode::NOT_FOUND, "ResourceNotFound", message));
            }
        };
        let exists = *method == Method::HEAD && matches!(route, Self::GetPool { .. });
        if *method != expected && !exists {
            let message = "The resource doesn't support the specified HTTP verb.";
            return Err(BatchError::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message));
        }
        Ok(route)
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::ListPools => Operation::ListPools,
            Self::GetPool { .. } => Operation::GetPool,
            Self::ListNodes { .. } => Operation::ListNodes,
            Self::GetNode { .. } => Operation::GetNode,
            Self::NodeCounts => Operation::NodeCounts,
            Self::ListJobs => Operation::ListJobs,
            Self::GetJob { .. } => Operation::GetJob,
            Self::ListTasks { .. } => Operation::ListTasks,
            Self::GetTask { .. } => Operation::GetTask,
            Self::ListSubtasks { .. } => Operation::ListSubtasks,
            Self::Upload { .. } => Operation::Upload,
        }
    }

    pub(super) fn pool(&self) -> Option<&str> {
        match self {
            Self::ListPools
            | Self::NodeCounts
            | Self::ListJobs
            | Self::GetJob { .. }
            | Self::ListTasks { .. }
            | Self::GetTask { .. }
            | Self::ListSubtasks { .. } => None,
            Self::GetPool { pool }
            | Self::ListNodes { pool }
            | Self::GetNode { pool, .. }
            | Self::Upload { pool, .. } => Some(pool),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_operations_and_others_to_errors() {
        let upload = Route::find(&Method::POST, "/pools/p%2D1/nodes/n/uploadbatchservicelogs");
        let exists = Route::find(&Method::HEAD, "/pools/p");
        assert_eq!(exists.expect("known"), Route::GetPool { pool: "p".into() });
        assert_eq!(upload.expect("known"), Route::Upload { pool: "p-1".into(), node: "n".into() });

        let code = |method, path| Route::find(&method, path).expect_err("refused").code;
        assert_eq!(code(Method::GET, "/pools/p/nodes/n/uploadbatchservicelogs"), "UnsupportedHttpVerb");
        assert_eq!(code(Method::DELETE, "/pools/p"), "UnsupportedHttpVerb");
        assert_eq!(code(Method::HEAD, "/jobs/j"), "UnsupportedHttpVerb");
        assert_eq!(code(Method::DELETE, "/jobs/j/tasks/t"), "UnsupportedHttpVerb");
        assert_eq!(code(Method::GET, "/jobschedules"), "ResourceNotFound");
    }
}
