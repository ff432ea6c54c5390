// Started by a test as a process of its own: serves a database until it is killed.
import { startPostgres } from '../postgres/server.ts'

const server = await startPostgres({ folder: process.argv[2] ?? '' })
console.log(JSON.stringify({ pid: server.pid, url: server.url }))
setInterval(() => {}, 1000)
