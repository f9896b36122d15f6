// Workers as an event-driven job of Container Apps, which the length of their queue starts, and a job that shares out a
// run. See docs/deploy/container-apps/README.md
//
//     az deployment group create --resource-group GROUP --template-file workers.bicep --parameters @workers.parameters.json

targetScope = 'resourceGroup'

@description('The region of the jobs.')
param location string = resourceGroup().location

@description('Name of the job of workers, and the prefix of the names of all resources that it needs.')
@minLength(2)
@maxLength(20)
param name string = 'fleetlogs-workers'

@description('The image, including its registry.')
param image string

@description('Name of the Azure container registry with the image; empty for a public image.')
param registry string = ''

@description('Resource group of the registry.')
param registryResourceGroup string = resourceGroup().name

@description('The config of workers and of `fan-out`. It must not contain a secret.')
param config string = loadTextContent('workers.toml')

@description('The site whose accounts these workers reach, as in the config; empty for accounts without one.')
param site string = ''

@description('The subnet of the environment, for accounts behind private endpoints; empty for none.')
param subnet string = ''

@description('Workers at the same time. More than there are accounts have nothing to do.')
param maxWorkers int = 10

@description('The Batch accounts that these workers reach: name and resource group of each.')
param batchAccounts array

@description('Role of the jobs in the Batch accounts. The first one is the smaller one; see the README.')
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

@description('Container for the records of runs, as in the config.')
param stateContainer string = 'batch-state'

@description('The queue of accounts without a site, as in the config.')
param queue string = 'fleetlogs-work'

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

module queues 'modules/work-queues.bicep' = {
  name: '${name}-queues'
  scope: resourceGroup(storageResourceGroup)
  params: {
    accountName: storageAccount
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
    vnetConfiguration: empty(subnet) ? null : {
      infrastructureSubnetId: subnet
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

resource workers 'Microsoft.App/jobs@2026-07-01' = {
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
      triggerType: 'Event'
      eventTriggerConfig: {
        parallelism: 1
        replicaCompletionCount: 1
        scale: {
          minExecutions: 0
          maxExecutions: maxWorkers
          pollingInterval: 30
          rules: [
            {
              name: 'partitions'
              type: 'azure-queue'
              // The scaler counts messages that workers have hidden, and takes off the executions that are running. As
              // a worker ends only when nothing is left, hidden or not, there are as many workers as are needed.
              metadata: {
                accountName: storageAccount
                queueName: empty(site) ? queue : '${queue}-${site}'
                // As `partitions_at_once` in the config: what one worker has at work at the same time.
                queueLength: '4'
              }
              identity: identity.id
            }
          ]
        }
      }
      // Longer than the longest partition, which is stopped by `deadlines.run`. A worker that is stopped in the middle
      // hands its partitions back, and another one goes on.
      replicaTimeout: 21600
      // No retry: what a worker leaves is in the queue, and starts another one. A partition that fails again and again
      // without progress goes to the poison queue: otherwise it would start workers for ever.
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
          args: empty(site) ? [
            'worker'
            '/etc/fleetlogs/fleetlogs.toml'
          ] : [
            'worker'
            '/etc/fleetlogs/fleetlogs.toml'
            '--site'
            site
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
    queues
    pull
  ]
}

// Shares a run out when it is started, and ends; `fleetlogs fan-in latest` on any machine then waits and reports.
resource fanOut 'Microsoft.App/jobs@2026-07-01' = if (empty(site)) {
  name: '${name}-start'
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
      triggerType: 'Manual'
      manualTriggerConfig: {
        parallelism: 1
        replicaCompletionCount: 1
      }
      // Planning ends with `deadlines.run`.
      replicaTimeout: 10800
      // No retry: it would share out a second run.
      replicaRetryLimit: 0
      registries: empty(registry) ? [] : [
        {
          server: '${registry}.azurecr.io'
          identity: identity.id
        }
      ]
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
            'fan-out'
            '/etc/fleetlogs/fleetlogs.toml'
            '--detach'
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
    queues
    pull
  ]
}

@description('The identity, for role assignments elsewhere.')
output principalId string = identity.properties.principalId
