subscription_id         = "00000000-0000-0000-0000-000000000000"
resource_group          = "contoso-fleetlogs"
image                   = "contosoregistry.azurecr.io/fleetlogs:0.1.0"
registry                = "contosoregistry"
registry_resource_group = "contoso-images"
batch_accounts          = { contoso = "contoso-batch" }
storage_account         = "contosologs"
storage_resource_group  = "contoso-storage"
