# Completion of tape for bash. Printed by `tape help --print bash`.
_tape() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local verb=${COMP_WORDS[1]} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "init load sim get scan sql tail status verify checkpoint compact archive bench help --help --version" -- "$word"))
        return
    fi
    case $before in
    --level | --ack) words="written durable committed" ;;
    --format) words="table csv json line arrow parquet" ;;
    --from) [ "$verb" = tail ] && words="earliest latest" ;;
    --tables) words="orders trades accounts positions instruments ticks depth" ;;
    --print) words="man bash zsh fish" ;;
    esac
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        return
    fi
    case $verb:$word in
    init:-*) words="--help" ;;
    load:-*) words="--select --ack --rejects --skip --help" ;;
    sim:-*) words="--orders --seed --instruments --users --rate --ack --help" ;;
    get:-*) words="--at --help" ;;
    scan:-*) words="--from --to --prefix --reverse --versions --at --limit --format --width --help" ;;
    sql:-*) words="--at --level --format --output --param --timeout --width --progress --help" ;;
    tail:-*) words="--tables --instruments --from --to --level --limit --follow --help" ;;
    status:-*) words="--format --help" ;;
    verify:-*) words="--help" ;;
    checkpoint:-*) words="--help" ;;
    compact:-*) words="--from --to --prefix --progress --help" ;;
    archive:-*) words="--date --progress --help" ;;
    bench:-*) words="--seconds --format --help" ;;
    help:-*) words="--print --help" ;;
    help:*) words="init load sim get scan sql tail status verify checkpoint compact archive bench help" ;;
    load:* | get:* | scan:* | compact:*) [ "$COMP_CWORD" -eq 3 ] && words="orders trades accounts positions instruments ticks depth" ;;
    esac
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -o filenames -F _tape tape
