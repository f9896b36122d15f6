// Lets alerts of Azure Monitor start a run: an action group that calls the listener of fleetlogs, and an alert rule for each
// Batch account. See docs/recipes/action-group/README.md
//
//     az deployment group create --resource-group GROUP --template-file main.bicep --parameters @main.parameters.json \
//         --parameters secret="$FLEETLOGS_ALERT_SECRET"

targetScope = 'resourceGroup'

@description('Name of the action group, and the prefix of the names of the rules.')
param name string = 'fleetlogs'

@description('The host behind which the listener is; with TLS.')
param host string

@description('The snapshot to run, by its name in the config.')
param snapshot string = 'incident'

@description('The secret of [schedule.listener].')
@secure()
param secret string

@description('The Batch accounts to watch: name and resource group of each.')
param batchAccounts array

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'Global'
  properties: {
    groupShortName: 'fleetlogs'
    enabled: true
    webhookReceivers: [
      {
        name: 'listener'
        serviceUri: 'https://${host}/alerts/${snapshot}?code=${uriComponent(secret)}'
        useCommonAlertSchema: true
      }
    ]
  }
}

resource account 'Microsoft.Batch/batchAccounts@2024-07-01' existing = [for each in batchAccounts: {
  name: each.name
  scope: resourceGroup(each.resourceGroup)
}]

resource unusable 'Microsoft.Insights/metricAlerts@2018-03-01' = [for (each, index) in batchAccounts: {
  name: '${name}-unusable-${each.name}'
  location: 'global'
  properties: {
    description: 'Nodes of the Batch account became unusable.'
    severity: 2
    enabled: true
    scopes: [
      account[index].id
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'unusable'
          metricNamespace: 'Microsoft.Batch/batchAccounts'
          metricName: 'UnusableNodeCount'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: group.id
      }
    ]
  }
}]
