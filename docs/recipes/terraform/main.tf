# What docs/deploy/container-apps/main.bicep creates, by Terraform: a snapshot as a scheduled job of Container Apps, with its
# own identity. See docs/recipes/terraform/README.md

terraform {
  required_version = ">= 1.5"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }
}

provider "azurerm" {
  features {}
  subscription_id     = var.subscription_id
  storage_use_azuread = true
}

data "azurerm_resource_group" "job" {
  name = var.resource_group
}

data "azurerm_batch_account" "batch" {
  for_each            = var.batch_accounts
  name                = each.key
  resource_group_name = each.value
}

data "azurerm_storage_account" "logs" {
  name                = var.storage_account
  resource_group_name = var.storage_resource_group
}

data "azurerm_container_registry" "images" {
  count               = var.registry == "" ? 0 : 1
  name                = var.registry
  resource_group_name = var.registry_resource_group
}

resource "azurerm_user_assigned_identity" "job" {
  name                = "${var.name}-identity"
  location            = data.azurerm_resource_group.job.location
  resource_group_name = data.azurerm_resource_group.job.name
}

# Lets the job list pools and nodes, and ask nodes to upload their logs.
resource "azurerm_role_assignment" "batch" {
  for_each             = data.azurerm_batch_account.batch
  scope                = each.value.id
  role_definition_name = var.batch_role
  principal_id         = azurerm_user_assigned_identity.job.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_storage_container" "made" {
  for_each              = toset([var.log_container, var.state_container])
  name                  = each.key
  storage_account_id    = data.azurerm_storage_account.logs.id
  container_access_type = "private"
}

# The right to get a user delegation key is for the whole account; the right to the blobs is for each container alone.
resource "azurerm_role_assignment" "delegator" {
  scope                = data.azurerm_storage_account.logs.id
  role_definition_name = "Storage Blob Delegator"
  principal_id         = azurerm_user_assigned_identity.job.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "blobs" {
  for_each             = azurerm_storage_container.made
  scope                = each.value.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.job.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "pull" {
  count                = length(data.azurerm_container_registry.images)
  scope                = data.azurerm_container_registry.images[count.index].id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_user_assigned_identity.job.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_log_analytics_workspace" "logs" {
  name                = "${var.name}-logs"
  location            = data.azurerm_resource_group.job.location
  resource_group_name = data.azurerm_resource_group.job.name
  sku                 = "PerGB2018"
  retention_in_days   = 90
}

resource "azurerm_container_app_environment" "jobs" {
  name                = "${var.name}-environment"
  location            = data.azurerm_resource_group.job.location
  resource_group_name = data.azurerm_resource_group.job.name
  logs_destination    = "azure-monitor"

  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
}

# A diagnostic setting needs no key of the workspace.
resource "azurerm_monitor_diagnostic_setting" "console" {
  name                       = "to-workspace"
  target_resource_id         = azurerm_container_app_environment.jobs.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.logs.id

  enabled_log {
    category = "ContainerAppConsoleLogs"
  }

  enabled_log {
    category = "ContainerAppSystemLogs"
  }
}

resource "azurerm_container_app_job" "snapshot" {
  name                         = var.name
  location                     = data.azurerm_resource_group.job.location
  resource_group_name          = data.azurerm_resource_group.job.name
  container_app_environment_id = azurerm_container_app_environment.jobs.id
  workload_profile_name        = "Consumption"

  # Longer than `deadlines.run` plus the listing before the run and the wait for files after it.
  replica_timeout_in_seconds = 10800

  # No retry: after 3 (partial), a retry would call all nodes again and make a second set of logs. The next run starts
  # where the verified logs end.
  replica_retry_limit = 0

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.job.id]
  }

  schedule_trigger_config {
    cron_expression          = var.cron
    parallelism              = 1
    replica_completion_count = 1
  }

  dynamic "registry" {
    for_each = data.azurerm_container_registry.images
    content {
      server   = registry.value.login_server
      identity = azurerm_user_assigned_identity.job.id
    }
  }

  # A job can only get a file from a volume of secrets, and the provider names the file after the secret. The config itself
  # contains no secret.
  secret {
    name  = "config"
    value = file("${path.module}/fleetlogs.toml")
  }

  template {
    container {
      name   = "fleetlogs"
      image  = var.image
      args   = ["schedule", "/etc/fleetlogs/config", "--once", var.snapshot]
      cpu    = 0.5
      memory = "1Gi"

      env {
        name  = "AZURE_CLIENT_ID"
        value = azurerm_user_assigned_identity.job.client_id
      }

      volume_mounts {
        name = "config"
        path = "/etc/fleetlogs"
      }
    }

    volume {
      name         = "config"
      storage_type = "Secret"
    }
  }

  depends_on = [
    azurerm_role_assignment.batch,
    azurerm_role_assignment.blobs,
    azurerm_role_assignment.delegator,
    azurerm_role_assignment.pull,
  ]
}

output "principal_id" {
  description = "The identity, for role assignments elsewhere."
  value       = azurerm_user_assigned_identity.job.principal_id
}
