// A snapshot as a scheduled job of Container Apps, with its own identity. See docs/deploy/container-apps/README.md
//
//     az deployment group create --resource-group GROUP --template-file main.bicep --parameters @main.parameters.json

targetScope = 'resourceGroup'

@description('The region of the job.')
param location string = resourceGroup().location

@description('Name of the job, and the prefix of the names of all resources that it needs.')
@minLength(2)
@maxLength(20)
param name string = 'fleetlogs'

@description('The image, including its registry.')
param image string

@description('Name of the Azure container registry with the image; empty for a public image.')
param registry string = ''

@description('Resource group of the registry.')
param registryResourceGroup string = resourceGroup().name

@description('The snapshot to run, by its name in the config.')
param snapshot string = 'nightly'

@description('When to run: a cron expression of five fields, in UTC.')
param cron string = '15 2 * * *'

@description('The config. It must not contain a secret.')
param config string = loadTextContent('fleetlogs.toml')

@description('The Batch accounts of the config: name and resource group of each.')
param batchAccounts array

@description('Role of the job in the Batch accounts. The first one is the smaller one; see the README.')
@allowed([
  'Azure Batch Data Contributor'
  'Azure Batch Account Contributor'
])
param batchRole string = 'Azure Batch Data Contributor'

@description('The storage account of the config, in the same subscription.')
param storageAccount string

@description('Resource group of the storage account.')
param storageResourceGroup string = resourceGroup().name

@description('Container for the logs, as in the config.')
param logContainer string = 'batch-logs'

@description('Container for the state of the schedule, as in the config.')
param stateContainer string = 'batch-state'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-identity'
  location: location
}

module batch 'modules/batch-account.bicep' = [for account in batchAccounts: {
  name: '${name}-batch-${account.name}'
  scope: resourceGroup(account.resourceGroup)
  params: {
    accountName: account.name
    principalId: identity.properties.principalId
    role: batchRole
  }
}]

module storage 'modules/storage-account.bicep' = {
  name: '${name}-storage'
  scope: resourceGroup(storageResourceGroup)
  params: {
    accountName: storageAccount
    containers: [
      logContainer
      stateContainer
    ]
    principalId: identity.properties.principalId
  }
}

module pull 'modules/registry.bicep' = if (!empty(registry)) {
  name: '${name}-registry'
  scope: resourceGroup(registryResourceGroup)
  params: {
    registryName: registry
    principalId: identity.properties.principalId
  }
}

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 90
  }
}

resource environment 'Microsoft.App/managedEnvironments@2026-07-01' = {
  name: '${name}-environment'
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

// A diagnostic setting needs no key of the workspace.
resource consoleLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: environment
  properties: {
    workspaceId: logs.id
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

resource job 'Microsoft.App/jobs@2026-07-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      triggerType: 'Schedule'
      scheduleTriggerConfig: {
        cronExpression: cron
        parallelism: 1
        replicaCompletionCount: 1
      }
      // Longer than `deadlines.run` plus the listing before the run and the wait for files after it.
      replicaTimeout: 10800
      // No retry: after 3 (partial), a retry would call all nodes again and make a second set of logs. The next run
      // starts where the verified logs end.
      replicaRetryLimit: 0
      registries: empty(registry) ? [] : [
        {
          server: '${registry}.azurecr.io'
          identity: identity.id
        }
      ]
      // A job can only get a file from a volume of secrets. The config itself contains no secret.
      secrets: [
        {
          name: 'config'
          value: config
        }
      ]
    }
    template: {
      containers: [
        {
          name: 'fleetlogs'
          image: image
          args: [
            'schedule'
            '/etc/fleetlogs/fleetlogs.toml'
            '--once'
            snapshot
          ]
          env: [
            {
              name: 'AZURE_CLIENT_ID'
              value: identity.properties.clientId
            }
          ]
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          volumeMounts: [
            {
              volumeName: 'config'
              mountPath: '/etc/fleetlogs'
            }
          ]
        }
      ]
      volumes: [
        {
          name: 'config'
          storageType: 'Secret'
          secrets: [
            {
              secretRef: 'config'
              path: 'fleetlogs.toml'
            }
          ]
        }
      ]
    }
  }
  dependsOn: [
    batch
    storage
    pull
  ]
}

@description('The identity, for role assignments elsewhere.')
output principalId string = identity.properties.principalId
