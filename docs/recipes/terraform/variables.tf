variable "subscription_id" {
  description = "The subscription."
  type        = string
}

variable "resource_group" {
  description = "The resource group of the job. It exists already."
  type        = string
}

variable "name" {
  description = "Name of the job, and the prefix of the names of all resources that it needs."
  type        = string
  default     = "fleetlogs"
}

variable "image" {
  description = "The image, including its registry."
  type        = string
}

variable "registry" {
  description = "Name of the Azure container registry with the image; empty for a public image."
  type        = string
  default     = ""
}

variable "registry_resource_group" {
  description = "Resource group of the registry."
  type        = string
  default     = ""
}

variable "snapshot" {
  description = "The snapshot to run, by its name in the config."
  type        = string
  default     = "nightly"
}

variable "cron" {
  description = "When to run: a cron expression of five fields, in UTC."
  type        = string
  default     = "15 2 * * *"
}

variable "batch_accounts" {
  description = "The Batch accounts of the config: the resource group of each, by the account's name."
  type        = map(string)
}

variable "batch_role" {
  description = "Role of the job in the Batch accounts. The first one is the smaller one."
  type        = string
  default     = "Azure Batch Data Contributor"

  validation {
    condition     = contains(["Azure Batch Data Contributor", "Azure Batch Account Contributor"], var.batch_role)
    error_message = "Use Azure Batch Data Contributor or Azure Batch Account Contributor."
  }
}

variable "storage_account" {
  description = "The storage account of the config."
  type        = string
}

variable "storage_resource_group" {
  description = "Resource group of the storage account."
  type        = string
}

variable "log_container" {
  description = "Container for the logs, as in the config."
  type        = string
  default     = "batch-logs"
}

variable "state_container" {
  description = "Container for the state of the schedule, as in the config."
  type        = string
  default     = "batch-state"
}
