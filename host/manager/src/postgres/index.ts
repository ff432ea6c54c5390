export { birthOf, type Holder, isAlive, type Lock, takeLock } from './lock.ts'
export { type PostgresServer, startPostgres } from './server.ts'
