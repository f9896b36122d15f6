# The same as main.bicep, by Terraform. See docs/recipes/action-group/README.md

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
  subscription_id = var.subscription_id
}

variable "subscription_id" {
  description = "The subscription."
  type        = string
}

variable "resource_group" {
  description = "The resource group of the action group and the rules. It exists already."
  type        = string
}

variable "name" {
  description = "Name of the action group, and the prefix of the names of the rules."
  type        = string
  default     = "fleetlogs"
}

variable "host" {
  description = "The host behind which the listener is; with TLS."
  type        = string
}

variable "snapshot" {
  description = "The snapshot to run, by its name in the config."
  type        = string
  default     = "incident"
}

# Set it by TF_VAR_secret. It is in the state of Terraform.
variable "secret" {
  description = "The secret of [schedule.listener]."
  type        = string
  sensitive   = true
}

variable "batch_accounts" {
  description = "The Batch accounts to watch: the resource group of each, by the account's name."
  type        = map(string)
}

data "azurerm_batch_account" "watched" {
  for_each            = var.batch_accounts
  name                = each.key
  resource_group_name = each.value
}

resource "azurerm_monitor_action_group" "listener" {
  name                = var.name
  resource_group_name = var.resource_group
  short_name          = "fleetlogs"

  webhook_receiver {
    name                    = "listener"
    service_uri             = "https://${var.host}/alerts/${var.snapshot}?code=${urlencode(var.secret)}"
    use_common_alert_schema = true
  }
}

resource "azurerm_monitor_metric_alert" "unusable" {
  for_each            = data.azurerm_batch_account.watched
  name                = "${var.name}-unusable-${each.key}"
  resource_group_name = var.resource_group
  description         = "Nodes of the Batch account became unusable."
  scopes              = [each.value.id]
  severity            = 2
  frequency           = "PT1M"
  window_size         = "PT5M"

  criteria {
    metric_namespace = "Microsoft.Batch/batchAccounts"
    metric_name      = "UnusableNodeCount"
    aggregation      = "Total"
    operator         = "GreaterThan"
    threshold        = 0
  }

  action {
    action_group_id = azurerm_monitor_action_group.listener.id
  }
}
