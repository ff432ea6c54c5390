import type { Command } from 'commander'
import type { Cli } from './command.ts'

/** Commands of one module, which is loaded when one of them is asked for. */
export interface Part {
  /** How each is used, and what it is for: all that the list of commands says. */
  readonly commands: Readonly<Record<string, string>>
  readonly load: () => Promise<(program: Command, cli: Cli) => void>
}

/** All commands, in the order in which they are listed. A command line loads what it names and nothing else. */
export const parts: readonly Part[] = [
  {
    commands: {
      up: 'start manager, log, vault and worker on this machine, and wait until they can serve',
      down: 'stop the server; everything that it acknowledged is kept',
      status: 'what runs on this machine, and whether the manager can serve',
      doctor: 'look for what could be wrong here, and say what to do about it',
    },
    load: async () => (await import('./commands/server.ts')).addServerCommands,
  },
  {
    commands: {
      backup: 'back up the server of this machine while it runs, verify a backup, restore one',
    },
    load: async () => (await import('./commands/backup.ts')).addBackupCommands,
  },
  {
    commands: {
      invite: 'make one file by which others find this installation and recognise it',
      'join <file>':
        'meet an installation by an invitation: see what it claims, have each claim checked, then believe it',
    },
    load: async () => (await import('./commands/invite.ts')).addInviteCommands,
  },
  {
    commands: {
      profile: 'profiles of this home: one for each installation or organisation',
    },
    load: async () => (await import('./commands/profile.ts')).addProfileCommands,
  },
  {
    commands: {
      simulate: 'what happens to hardware: rehearse it on the simulated TEE',
    },
    load: async () => (await import('./commands/simulate.ts')).addSimulateCommands,
  },
  {
    commands: {
      org: 'organisations: found one, its members, its terms, whom it trusts',
    },
    load: async () => (await import('./commands/org.ts')).addOrgCommands,
  },
  {
    commands: {
      'offboard <member>': 'see what a leaver’s account touched and what is to be done; --do does it',
    },
    load: async () => (await import('./commands/offboard.ts')).addOffboardCommand,
  },
  {
    commands: {
      keys: 'the keys of this profile: they never leave this machine in the clear',
    },
    load: async () => (await import('./commands/keys.ts')).addKeysCommands,
  },
  {
    commands: {
      vaults: 'the vaults that hold keys of your organisation',
    },
    load: async () => (await import('./commands/vaults.ts')).addVaultsCommands,
  },
  {
    commands: {
      broker: 'a vault of your own, at home: your keys leave this machine for runs alone',
    },
    load: async () => (await import('./commands/broker.ts')).addBrokerCommands,
  },
  {
    commands: {
      'inspect <file>': 'read a table, say what is in it, and propose what to protect',
    },
    load: async () => (await import('./commands/inspect.ts')).addInspectCommand,
  },
  {
    commands: {
      'publish <file>': 'seal a table, file, program or secret and publish it under a policy',
    },
    load: async () => (await import('./commands/publish.ts')).addPublishCommand,
  },
  {
    commands: {
      assets: 'what you and the organisations you trust have published',
    },
    load: async () => (await import('./commands/assets.ts')).addAssetsCommands,
  },
  {
    commands: {
      'revocations [digest]':
        'what your organisation has withdrawn: in force since when, and which vaults have read it',
    },
    load: async () => (await import('./commands/revocations.ts')).addRevocationsCommand,
  },
  {
    commands: {
      guests: 'which guests of others may get secrets of your organisation',
    },
    load: async () => (await import('./commands/guests.ts')).addGuestsCommands,
  },
  {
    commands: {
      workflow: 'stitch inputs, program and outputs of several owners together',
    },
    load: async () => (await import('./commands/contract.ts')).addWorkflowCommands,
  },
  {
    commands: {
      contract: 'what may run: a workflow with every name resolved to a digest',
    },
    load: async () => (await import('./commands/contract.ts')).addContractCommands,
  },
  {
    commands: {
      inbox: 'what waits for you: contracts to approve, answers to what you asked, results',
      watch: 'follow what concerns your organisation, as it happens',
      webhook: 'have a URL told of what concerns your organisation',
    },
    load: async () => (await import('./commands/inbox.ts')).addInboxCommands,
  },
  {
    commands: {
      'run <contract>': 'start a run of a contract of yours and follow it to its receipt',
      runs: 'runs of contracts: list, show, cancel',
    },
    load: async () => (await import('./commands/run.ts')).addRunCommands,
  },
  {
    commands: {
      'open <contract> <run>': 'verify a run’s receipt, then open its output',
    },
    load: async () => (await import('./commands/open.ts')).addOpenCommand,
  },
  {
    commands: {
      receipt: 'receipts: what happened, provable to others',
      'verify [file]': 'judge a file without a network: what is proved, by whom, as of when, and what is not',
    },
    load: async () => (await import('./commands/receipt.ts')).addReceiptCommands,
  },
  {
    commands: {
      log: 'the witnessed log: the one memory that can’t go back',
    },
    load: async () => (await import('./commands/log.ts')).addLogCommands,
  },
  {
    commands: {
      witness: 'watch a log for others: cosign what continues what was seen before',
    },
    load: async () => (await import('./commands/witness.ts')).addWitnessCommands,
  },
  {
    commands: {
      evidence: 'evidence of TEEs: what a machine is, and whether to accept it',
    },
    load: async () => (await import('./commands/evidence.ts')).addEvidenceCommands,
  },
  {
    commands: {
      attest: 'an attestation service: appraise evidence for others, sign the result',
    },
    load: async () => (await import('./commands/attest.ts')).addAttestCommands,
  },
  {
    commands: {
      policy: 'policies in plain words, and why something was refused',
    },
    load: async () => (await import('./commands/policy.ts')).addPolicyCommands,
  },
]
