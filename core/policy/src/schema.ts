// What every request says. All of it is required: a vault that leaves a fact out gets a denial, not a narrower check.
const request = `
    author: Member,
    contract: String,
    programPublishers: Set<Organisation>,
    programs: Set<Program>,
    purpose: String,
    receiverAccounts: Set<String>,
    receiverOrganisations: Set<Organisation>,
    receiverRoles: Set<String>,
    receivers: Set<Receiver>,
    runs: Long,
    time: { earliest: Long, latest: Long },`

const tee = `{
      boundary: String,
      debug: Bool,
      kind: String,
      platformId: String,
      product: String,
      provider: String,
      simulated: Bool,
    }`

// What is known once a worker has shown its evidence, so at a release and not yet at an approval.
const release = `${request}
    isolation: Long,
    place: { region: String, source: String },
    tee: ${tee},
    uses: Long,`

/**
 * The Cedar schema that every policy is validated against in strict mode, and every request and entity too. What each
 * attribute means, its unit and where it comes from is documented at `PolicyFacts`; docs/formats/policy.md has both.
 */
export const cedarSchema: string = `namespace Cella {
  entity Organisation;
  entity Account in [Organisation] = {
    account: String,
    organisation: Organisation,
    roles: Set<String>,
  };
  entity Guest;
  entity Program = {
    digest: String,
    publisher: Organisation,
  };
  entity Asset = {
    kind: String,
    manifest: String,
    owner: Organisation,
    purposes: Set<String>,
    revision: Long,
    series: String,
    sources: Set<String>,
  };
  type Member = { account: String, organisation: Organisation, roles: Set<String> };
  type Receiver = { account: String, organisation: Organisation, role: String, roles: Set<String> };

  action compute appliesTo { principal: [Account], resource: [Asset], context: {
    program: Program,${release}
  } };
  action readOutput appliesTo { principal: [Account], resource: [Asset], context: {
    receiver: Account,
    receiverRole: String,${release}
  } };
  action derive appliesTo { principal: [Account], resource: [Asset], context: {${release}
  } };
  action disclose appliesTo { principal: [Account], resource: [Asset], context: {
    scope: String,${release}
  } };
  action readSecret appliesTo { principal: [Guest], resource: [Asset], context: {
    attestation: String,
    hostData: String,
    measurement: String,
    tee: ${tee},
    time: { earliest: Long, latest: Long },
    uses: Long,
  } };
  action approve appliesTo { principal: [Account], resource: [Asset], context: {${request}
  } };
}
`
