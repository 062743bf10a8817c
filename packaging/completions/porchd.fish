# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_porchd_global_optspecs
    string join \n h/help V/version
end

function __fish_porchd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_porchd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_porchd_using_subcommand
    set -l cmd (__fish_porchd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c porchd -n "__fish_porchd_needs_command" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_needs_command" -s V -l version -d 'Print version'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "run" -d 'Serve, in the foreground, until SIGTERM. SIGHUP reloads, SIGUSR1 opens the logs again, SIGUSR2 upgrades'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "check" -d 'Validate the configuration and warn of what is risky; exit 0 or 1'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "reload" -d 'Have the running porchd take the new configuration; print what changed, or every error and exit 1'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "upgrade" -d 'Have the binary on disk take over from the running porchd without a dropped connection'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "status" -d 'Show how all stands: home, who waits, what is asked, certificates, the last reload, the last incidents'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "incidents" -d 'Show when home was away, why, and what became of the requests that came meanwhile'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "explain" -d 'Say what would become of a request: who takes it, how it is forwarded, what is answered right now'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "certs" -d 'Show the certificates of the running porchd, renew or revoke them'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "schema" -d 'Print a JSON Schema of the configuration, for editors'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "demo" -d 'Try porchd: own CA, free ports, a stand-in home inside. Needs nothing, touches nothing'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "version" -d 'Print the version'
complete -c porchd -n "__fish_porchd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c porchd -n "__fish_porchd_using_subcommand run" -s f -l file -d 'The configuration' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand run" -l confine -d '`off`: the edge does not confine itself to what the configuration names. To find out whether that is in the way of something, and never else' -r -f -a "on\t''
off\t''"
complete -c porchd -n "__fish_porchd_using_subcommand run" -l one-process -d 'Run as one process, with the privileges that it is started with: for development and containers. It can\'t be upgraded while it serves'
complete -c porchd -n "__fish_porchd_using_subcommand run" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand check" -s f -l file -d 'The configuration' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand check" -l expand -d 'Print the effective configuration: every default, and what a preset made'
complete -c porchd -n "__fish_porchd_using_subcommand check" -l offline -d 'Do not ask the homeserver whether it answers'
complete -c porchd -n "__fish_porchd_using_subcommand check" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand reload" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand reload" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand upgrade" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand upgrade" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand status" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand status" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand status" -l json -d 'Print it as JSON'
complete -c porchd -n "__fish_porchd_using_subcommand status" -l watch -d 'Look again every 2 seconds, until Ctrl-C'
complete -c porchd -n "__fish_porchd_using_subcommand status" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand incidents" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand incidents" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand incidents" -l since -d 'Only what lasted within this time, such as 24h or 7d' -r
complete -c porchd -n "__fish_porchd_using_subcommand incidents" -l json -d 'Print the list as JSON'
complete -c porchd -n "__fish_porchd_using_subcommand incidents" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand explain" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand explain" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand explain" -l method -d 'The method' -r
complete -c porchd -n "__fish_porchd_using_subcommand explain" -l from -d 'The client\'s address' -r
complete -c porchd -n "__fish_porchd_using_subcommand explain" -l offline -d 'Ask the configuration\'s file, and not the porchd that runs'
complete -c porchd -n "__fish_porchd_using_subcommand explain" -l json -d 'Print it as JSON'
complete -c porchd -n "__fish_porchd_using_subcommand explain" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -l json -d 'Print the list as JSON'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -f -a "renew" -d 'Order a certificate now, whatever its age. Waits after failures end; the CA\'s limits hold'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -f -a "revoke" -d 'Revoke a certificate at its CA. Nobody can take that back'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and not __fish_seen_subcommand_from renew revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from renew" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from renew" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from renew" -l all -d 'All certificates that porchd orders'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from renew" -l wait -d 'Wait for the outcome; without it the command ends when the order is queued'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from renew" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from revoke" -l reason -d 'Why' -r -f -a "unspecified\t''
key-compromise\t''
superseded\t''
cessation-of-operation\t''"
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from revoke" -s f -l file -d 'The configuration, which says where the control socket is; it may be wrong elsewhere' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from revoke" -s s -l socket -d 'The control socket, whatever the configuration says' -r -F
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from revoke" -l yes -d 'Do it'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from help" -f -a "renew" -d 'Order a certificate now, whatever its age. Waits after failures end; the CA\'s limits hold'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke a certificate at its CA. Nobody can take that back'
complete -c porchd -n "__fish_porchd_using_subcommand certs; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c porchd -n "__fish_porchd_using_subcommand schema" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand demo" -l port -d 'First port to try for https; the others follow' -r
complete -c porchd -n "__fish_porchd_using_subcommand demo" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand version" -s h -l help -d 'Print help'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "run" -d 'Serve, in the foreground, until SIGTERM. SIGHUP reloads, SIGUSR1 opens the logs again, SIGUSR2 upgrades'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "check" -d 'Validate the configuration and warn of what is risky; exit 0 or 1'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "reload" -d 'Have the running porchd take the new configuration; print what changed, or every error and exit 1'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "upgrade" -d 'Have the binary on disk take over from the running porchd without a dropped connection'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "status" -d 'Show how all stands: home, who waits, what is asked, certificates, the last reload, the last incidents'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "incidents" -d 'Show when home was away, why, and what became of the requests that came meanwhile'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "explain" -d 'Say what would become of a request: who takes it, how it is forwarded, what is answered right now'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "certs" -d 'Show the certificates of the running porchd, renew or revoke them'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "schema" -d 'Print a JSON Schema of the configuration, for editors'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "demo" -d 'Try porchd: own CA, free ports, a stand-in home inside. Needs nothing, touches nothing'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "version" -d 'Print the version'
complete -c porchd -n "__fish_porchd_using_subcommand help; and not __fish_seen_subcommand_from run check reload upgrade status incidents explain certs schema demo version help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c porchd -n "__fish_porchd_using_subcommand help; and __fish_seen_subcommand_from certs" -f -a "renew" -d 'Order a certificate now, whatever its age. Waits after failures end; the CA\'s limits hold'
complete -c porchd -n "__fish_porchd_using_subcommand help; and __fish_seen_subcommand_from certs" -f -a "revoke" -d 'Revoke a certificate at its CA. Nobody can take that back'
