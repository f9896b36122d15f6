// Creates the containers, and lets an identity create SAS for them with Entra. The right to get a user delegation key
// is for the whole account; the right to the blobs is for each container alone.

param accountName string
param containers array
param principalId string

var roles = {
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  'Storage Blob Delegator': 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a'
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: accountName

  resource blobs 'blobServices@2024-01-01' existing = {
    name: 'default'
  }
}

resource made 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = [for container in containers: {
  name: container
  parent: account::blobs
  properties: {
    publicAccess: 'None'
  }
}]

resource delegator 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, roles['Storage Blob Delegator'])
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Delegator'])
  }
}

resource contributor 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, index) in containers: {
  name: guid(account.id, container, principalId, roles['Storage Blob Data Contributor'])
  scope: made[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}]
