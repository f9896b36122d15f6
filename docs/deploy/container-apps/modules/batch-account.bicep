// Lets an identity list the pools and nodes of one Batch account, and ask nodes to upload their logs.

param accountName string
param principalId string

@allowed([
  'Azure Batch Data Contributor'
  'Azure Batch Account Contributor'
])
param role string

var roles = {
  'Azure Batch Data Contributor': '6aaa78f1-f7de-44ca-8722-c64a23943cae'
  'Azure Batch Account Contributor': '29fe4964-1e60-436b-bd3a-77fd4c178b3c'
}

resource account 'Microsoft.Batch/batchAccounts@2024-07-01' existing = {
  name: accountName
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, roles[role])
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
  }
}
