//! Named volumes.

use std::collections::{BTreeMap, HashMap};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters as query;

use super::{Docker, DockerError, SHORT};

impl Docker {
    /// Whether a volume of this name exists.
    pub async fn has_volume(&self, name: &str) -> Result<bool, DockerError> {
        match self.call(|| format!("inspect the volume `{name}`"), SHORT, self.client.inspect_volume(name)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a volume; one that exists is fine.
    pub async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<(), DockerError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        self.call(|| format!("create the volume `{name}`"), SHORT, self.client.create_volume(request)).await.map(|_| ())
    }

    /// Removes a volume if nothing uses it. Says whether it did.
    pub async fn remove_volume(&self, name: &str) -> Result<bool, DockerError> {
        let request = self.client.remove_volume(name, None::<query::RemoveVolumeOptions>);
        match self.call(|| format!("remove the volume `{name}`"), SHORT, request).await {
            Ok(()) => Ok(true),
            Err(DockerError::Missing { .. } | DockerError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names of the volumes that begin with `prefix`.
    pub async fn volumes_named(&self, prefix: &str) -> Result<Vec<String>, DockerError> {
        let filters = HashMap::from([("name", vec![prefix])]);
        let options = query::ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.call(|| "list the volumes".to_owned(), SHORT, self.client.list_volumes(Some(options))).await?;
        let names = found.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
        // The engine's filter looks for the text anywhere in the name.
        Ok(names.filter(|name| name.starts_with(prefix)).collect())
    }
}
