# Completion of derphole and derptun for fish, made by `derphole completion fish`.
set -g __derphole_words abandon ability able about above absent absorb abstract absurd abuse access accident account accuse achieve acid acoustic acquire across act action actor actress actual adapt add addict address adjust admit adult advance advice aerobic affair afford afraid again age agent agree ahead aim air airport aisle alarm album alcohol alert alien all alley allow almost alone alpha already also alter always amateur amazing among amount amused analyst anchor ancient anger angle angry animal ankle announce annual another answer antenna antique anxiety any apart apology appear apple approve april arch arctic area arena argue arm armed armor army around arrange arrest arrive arrow art artefact artist artwork ask aspect assault asset assist assume asthma athlete atom attack attend attitude attract auction audit august aunt author auto autumn average avocado avoid awake aware away awesome awful awkward axis baby bachelor bacon badge bag balance balcony ball bamboo banana banner bar barely bargain barrel base basic basket battle beach bean beauty because become beef before begin behave behind believe below belt bench benefit best betray better between beyond bicycle bid bike bind biology bird birth bitter black blade blame blanket blast bleak bless blind blood blossom blouse blue blur blush board boat body boil bomb bone bonus book boost border boring borrow boss bottom bounce box boy bracket brain brand brass brave bread breeze brick bridge brief bright bring brisk broccoli broken bronze broom brother brown brush bubble buddy budget buffalo build bulb bulk bullet bundle bunker burden burger burst bus business busy butter buyer buzz cabbage cabin cable cactus cage cake call calm camera camp can canal cancel candy cannon canoe canvas canyon capable capital captain car carbon card cargo carpet carry cart case cash casino castle casual cat catalog catch category cattle caught cause caution cave ceiling celery cement census century cereal certain chair chalk champion change chaos chapter charge chase chat cheap check cheese chef cherry chest chicken chief child chimney choice choose chronic chuckle chunk churn cigar cinnamon circle citizen city civil claim clap clarify claw clay clean clerk clever click client cliff climb clinic clip clock clog close cloth cloud clown club clump cluster clutch coach coast coconut code coffee coil coin collect color column combine come comfort comic common company concert conduct confirm congress connect consider control convince cook cool copper copy coral core corn correct cost cotton couch country couple course cousin cover coyote crack cradle craft cram crane crash crater crawl crazy cream credit creek crew cricket crime crisp critic crop cross crouch crowd crucial cruel cruise crumble crunch crush cry crystal cube culture cup cupboard curious current curtain curve cushion custom cute cycle dad damage damp dance danger daring dash daughter dawn day deal debate debris decade december decide decline decorate decrease deer defense define defy degree delay deliver demand demise denial dentist deny depart depend deposit depth deputy derive describe desert design desk despair destroy detail detect develop device devote diagram dial diamond diary dice diesel diet differ digital dignity dilemma dinner dinosaur direct dirt disagree discover disease dish dismiss disorder display distance divert divide divorce dizzy doctor document dog doll dolphin domain donate donkey donor door dose double dove draft dragon drama drastic draw dream dress drift drill drink drip drive drop drum dry duck dumb dune during dust dutch duty dwarf dynamic eager eagle early earn earth easily east easy echo ecology economy edge edit educate effort egg eight either elbow elder electric elegant element elephant elevator elite else embark embody embrace emerge emotion employ empower empty enable enact end endless endorse enemy energy enforce engage engine enhance enjoy enlist enough enrich enroll ensure enter entire entry envelope episode equal equip era erase erode erosion error erupt escape essay essence estate eternal ethics evidence evil evoke evolve exact example excess exchange excite exclude excuse execute exercise exhaust exhibit exile exist exit exotic expand expect expire explain expose express extend extra eye eyebrow fabric face faculty fade faint faith fall false fame family famous fan fancy fantasy farm fashion fat fatal father fatigue fault favorite feature february federal fee feed feel female fence festival fetch fever few fiber fiction field figure file film filter final find fine finger finish fire firm first fiscal fish fit fitness fix flag flame flash flat flavor flee flight flip float flock floor flower fluid flush fly foam focus fog foil fold follow food foot force forest forget fork fortune forum forward fossil foster found fox fragile frame frequent fresh friend fringe frog front frost frown frozen fruit fuel fun funny furnace fury future gadget gain galaxy gallery game gap garage garbage garden garlic garment gas gasp gate gather gauge gaze general genius genre gentle genuine gesture ghost giant gift giggle ginger giraffe girl give glad glance glare glass glide glimpse globe gloom glory glove glow glue goat goddess gold good goose gorilla gospel gossip govern gown grab grace grain grant grape grass gravity great green grid grief grit grocery group grow grunt guard guess guide guilt guitar gun gym habit hair half hammer hamster hand happy harbor hard harsh harvest hat have hawk hazard head health heart heavy hedgehog height hello helmet help hen hero hidden high hill hint hip hire history hobby hockey hold hole holiday hollow home honey hood hope horn horror horse hospital host hotel hour hover hub huge human humble humor hundred hungry hunt hurdle hurry hurt husband hybrid ice icon idea identify idle ignore ill illegal illness image imitate immense immune impact impose improve impulse inch include income increase index indicate indoor industry infant inflict inform inhale inherit initial inject injury inmate inner innocent input inquiry insane insect inside inspire install intact interest into invest invite involve iron island isolate issue item ivory jacket jaguar jar jazz jealous jeans jelly jewel job join joke journey joy judge juice jump jungle junior junk just kangaroo keen keep ketchup key kick kid kidney kind kingdom kiss kit kitchen kite kitten kiwi knee knife knock know lab label labor ladder lady lake lamp language laptop large later latin laugh laundry lava law lawn lawsuit layer lazy leader leaf learn leave lecture left leg legal legend leisure lemon lend length lens leopard lesson letter level liar liberty library license life lift light like limb limit link lion liquid list little live lizard load loan lobster local lock logic lonely long loop lottery loud lounge love loyal lucky luggage lumber lunar lunch luxury lyrics machine mad magic magnet maid mail main major make mammal man manage mandate mango mansion manual maple marble march margin marine market marriage mask mass master match material math matrix matter maximum maze meadow mean measure meat mechanic medal media melody melt member memory mention menu mercy merge merit merry mesh message metal method middle midnight milk million mimic mind minimum minor minute miracle mirror misery miss mistake mix mixed mixture mobile model modify mom moment monitor monkey monster month moon moral more morning mosquito mother motion motor mountain mouse move movie much muffin mule multiply muscle museum mushroom music must mutual myself mystery myth naive name napkin narrow nasty nation nature near neck need negative neglect neither nephew nerve nest net network neutral never news next nice night noble noise nominee noodle normal north nose notable note nothing notice novel now nuclear number nurse nut oak obey object oblige obscure observe obtain obvious occur ocean october odor off offer office often oil okay old olive olympic omit once one onion online only open opera opinion oppose option orange orbit orchard order ordinary organ orient original orphan ostrich other outdoor outer output outside oval oven over own owner oxygen oyster ozone pact paddle page pair palace palm panda panel panic panther paper parade parent park parrot party pass patch path patient patrol pattern pause pave payment peace peanut pear peasant pelican pen penalty pencil people pepper perfect permit person pet phone photo phrase physical piano picnic picture piece pig pigeon pill pilot pink pioneer pipe pistol pitch pizza place planet plastic plate play please pledge pluck plug plunge poem poet point polar pole police pond pony pool popular portion position possible post potato pottery poverty powder power practice praise predict prefer prepare present pretty prevent price pride primary print priority prison private prize problem process produce profit program project promote proof property prosper protect proud provide public pudding pull pulp pulse pumpkin punch pupil puppy purchase purity purpose purse push put puzzle pyramid quality quantum quarter question quick quit quiz quote rabbit raccoon race rack radar radio rail rain raise rally ramp ranch random range rapid rare rate rather raven raw razor ready real reason rebel rebuild recall receive recipe record recycle reduce reflect reform refuse region regret regular reject relax release relief rely remain remember remind remove render renew rent reopen repair repeat replace report require rescue resemble resist resource response result retire retreat return reunion reveal review reward rhythm rib ribbon rice rich ride ridge rifle right rigid ring riot ripple risk ritual rival river road roast robot robust rocket romance roof rookie room rose rotate rough round route royal rubber rude rug rule run runway rural sad saddle sadness safe sail salad salmon salon salt salute same sample sand satisfy satoshi sauce sausage save say scale scan scare scatter scene scheme school science scissors scorpion scout scrap screen script scrub sea search season seat second secret section security seed seek segment select sell seminar senior sense sentence series service session settle setup seven shadow shaft shallow share shed shell sheriff shield shift shine ship shiver shock shoe shoot shop short shoulder shove shrimp shrug shuffle shy sibling sick side siege sight sign silent silk silly silver similar simple since sing siren sister situate six size skate sketch ski skill skin skirt skull slab slam sleep slender slice slide slight slim slogan slot slow slush small smart smile smoke smooth snack snake snap sniff snow soap soccer social sock soda soft solar soldier solid solution solve someone song soon sorry sort soul sound soup source south space spare spatial spawn speak special speed spell spend sphere spice spider spike spin spirit split spoil sponsor spoon sport spot spray spread spring spy square squeeze squirrel stable stadium staff stage stairs stamp stand start state stay steak steel stem step stereo stick still sting stock stomach stone stool story stove strategy street strike strong struggle student stuff stumble style subject submit subway success such sudden suffer sugar suggest suit summer sun sunny sunset super supply supreme sure surface surge surprise surround survey suspect sustain swallow swamp swap swarm swear sweet swift swim swing switch sword symbol symptom syrup system table tackle tag tail talent talk tank tape target task taste tattoo taxi teach team tell ten tenant tennis tent term test text thank that theme then theory there they thing this thought three thrive throw thumb thunder ticket tide tiger tilt timber time tiny tip tired tissue title toast tobacco today toddler toe together toilet token tomato tomorrow tone tongue tonight tool tooth top topic topple torch tornado tortoise toss total tourist toward tower town toy track trade traffic tragic train transfer trap trash travel tray treat tree trend trial tribe trick trigger trim trip trophy trouble truck true truly trumpet trust truth try tube tuition tumble tuna tunnel turkey turn turtle twelve twenty twice twin twist two type typical ugly umbrella unable unaware uncle uncover under undo unfair unfold unhappy uniform unique unit universe unknown unlock until unusual unveil update upgrade uphold upon upper upset urban urge usage use used useful useless usual utility vacant vacuum vague valid valley valve van vanish vapor various vast vault vehicle velvet vendor venture venue verb verify version very vessel veteran viable vibrant vicious victory video view village vintage violin virtual virus visa visit visual vital vivid vocal voice void volcano volume vote voyage wage wagon wait walk wall walnut want warfare warm warrior wash wasp waste water wave way wealth weapon wear weasel weather web wedding weekend weird welcome west wet whale what wheat wheel when where whip whisper wide width wife wild will win window wine wing wink winner winter wire wisdom wise wish witness wolf woman wonder wood wool word work world worry worth wrap wreck wrestle wrist write wrong yard year yellow you young youth zebra zero zone zoo
function __derphole_code
    set -l begun (string lower -- (commandline -ct))
    set -l head (string match -r -- '^[0-9]{1,5}-[0-9]{6}-([a-z]+-){0,5}' $begun)[1]
    test -n "$head"; and printf '%s\n' $head$__derphole_words
end
complete -c derphole -n '__derphole_code >/dev/null' -f -a '(__derphole_code)'
complete -c derphole -n '__fish_use_subcommand' -f -a 'help completion listen netcheck pipe receive send share open ssh relay version'
complete -c derphole -n '__fish_seen_subcommand_from completion' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from completion' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from completion' -l silent
complete -c derphole -n '__fish_seen_subcommand_from completion' -l json
complete -c derphole -n '__fish_seen_subcommand_from completion' -l help
complete -c derphole -n '__fish_seen_subcommand_from completion' -l version
complete -c derphole -n '__fish_seen_subcommand_from completion' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from listen' -l output
complete -c derphole -n '__fish_seen_subcommand_from listen' -l overwrite
complete -c derphole -n '__fish_seen_subcommand_from listen' -l print-token-only
complete -c derphole -n '__fish_seen_subcommand_from listen' -l code-words
complete -c derphole -n '__fish_seen_subcommand_from listen' -l no-code
complete -c derphole -n '__fish_seen_subcommand_from listen' -l expires
complete -c derphole -n '__fish_seen_subcommand_from listen' -l hide-progress
complete -c derphole -n '__fish_seen_subcommand_from listen' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from listen' -l relay
complete -c derphole -n '__fish_seen_subcommand_from listen' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from listen' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from listen' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from listen' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from listen' -l trace
complete -c derphole -n '__fish_seen_subcommand_from listen' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from listen' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from listen' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from listen' -l silent
complete -c derphole -n '__fish_seen_subcommand_from listen' -l json
complete -c derphole -n '__fish_seen_subcommand_from listen' -l help
complete -c derphole -n '__fish_seen_subcommand_from listen' -l version
complete -c derphole -n '__fish_seen_subcommand_from listen' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l relay
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l trace
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l silent
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l json
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l help
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l version
complete -c derphole -n '__fish_seen_subcommand_from netcheck' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l token
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l token-file
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l token-stdin
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l hide-progress
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l relay
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l trace
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l silent
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l json
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l help
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l version
complete -c derphole -n '__fish_seen_subcommand_from pipe' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from receive' -l output
complete -c derphole -n '__fish_seen_subcommand_from receive' -l overwrite
complete -c derphole -n '__fish_seen_subcommand_from receive' -l rename
complete -c derphole -n '__fish_seen_subcommand_from receive' -l skip
complete -c derphole -n '__fish_seen_subcommand_from receive' -l yes
complete -c derphole -n '__fish_seen_subcommand_from receive' -l ask-above
complete -c derphole -n '__fish_seen_subcommand_from receive' -l verify
complete -c derphole -n '__fish_seen_subcommand_from receive' -l no-space-check
complete -c derphole -n '__fish_seen_subcommand_from receive' -l dry-run
complete -c derphole -n '__fish_seen_subcommand_from receive' -l forget
complete -c derphole -n '__fish_seen_subcommand_from receive' -l print-token-only
complete -c derphole -n '__fish_seen_subcommand_from receive' -l code-words
complete -c derphole -n '__fish_seen_subcommand_from receive' -l no-code
complete -c derphole -n '__fish_seen_subcommand_from receive' -l expires
complete -c derphole -n '__fish_seen_subcommand_from receive' -l hide-progress
complete -c derphole -n '__fish_seen_subcommand_from receive' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from receive' -l relay
complete -c derphole -n '__fish_seen_subcommand_from receive' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from receive' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from receive' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from receive' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from receive' -l trace
complete -c derphole -n '__fish_seen_subcommand_from receive' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from receive' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from receive' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from receive' -l silent
complete -c derphole -n '__fish_seen_subcommand_from receive' -l json
complete -c derphole -n '__fish_seen_subcommand_from receive' -l help
complete -c derphole -n '__fish_seen_subcommand_from receive' -l version
complete -c derphole -n '__fish_seen_subcommand_from receive' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from send' -l text
complete -c derphole -n '__fish_seen_subcommand_from send' -l to
complete -c derphole -n '__fish_seen_subcommand_from send' -l name
complete -c derphole -n '__fish_seen_subcommand_from send' -l exclude
complete -c derphole -n '__fish_seen_subcommand_from send' -l gitignore
complete -c derphole -n '__fish_seen_subcommand_from send' -l skip-unreadable
complete -c derphole -n '__fish_seen_subcommand_from send' -l qr
complete -c derphole -n '__fish_seen_subcommand_from send' -l print-token-only
complete -c derphole -n '__fish_seen_subcommand_from send' -l code-words
complete -c derphole -n '__fish_seen_subcommand_from send' -l no-code
complete -c derphole -n '__fish_seen_subcommand_from send' -l expires
complete -c derphole -n '__fish_seen_subcommand_from send' -l hide-progress
complete -c derphole -n '__fish_seen_subcommand_from send' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from send' -l relay
complete -c derphole -n '__fish_seen_subcommand_from send' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from send' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from send' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from send' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from send' -l trace
complete -c derphole -n '__fish_seen_subcommand_from send' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from send' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from send' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from send' -l silent
complete -c derphole -n '__fish_seen_subcommand_from send' -l json
complete -c derphole -n '__fish_seen_subcommand_from send' -l help
complete -c derphole -n '__fish_seen_subcommand_from send' -l version
complete -c derphole -n '__fish_seen_subcommand_from send' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from share' -l print-token-only
complete -c derphole -n '__fish_seen_subcommand_from share' -l code-words
complete -c derphole -n '__fish_seen_subcommand_from share' -l no-code
complete -c derphole -n '__fish_seen_subcommand_from share' -l expires
complete -c derphole -n '__fish_seen_subcommand_from share' -l max-clients
complete -c derphole -n '__fish_seen_subcommand_from share' -l max-connections
complete -c derphole -n '__fish_seen_subcommand_from share' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from share' -l relay
complete -c derphole -n '__fish_seen_subcommand_from share' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from share' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from share' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from share' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from share' -l trace
complete -c derphole -n '__fish_seen_subcommand_from share' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from share' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from share' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from share' -l silent
complete -c derphole -n '__fish_seen_subcommand_from share' -l json
complete -c derphole -n '__fish_seen_subcommand_from share' -l help
complete -c derphole -n '__fish_seen_subcommand_from share' -l version
complete -c derphole -n '__fish_seen_subcommand_from share' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from open' -l token
complete -c derphole -n '__fish_seen_subcommand_from open' -l token-file
complete -c derphole -n '__fish_seen_subcommand_from open' -l token-stdin
complete -c derphole -n '__fish_seen_subcommand_from open' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from open' -l relay
complete -c derphole -n '__fish_seen_subcommand_from open' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from open' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from open' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from open' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from open' -l trace
complete -c derphole -n '__fish_seen_subcommand_from open' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from open' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from open' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from open' -l silent
complete -c derphole -n '__fish_seen_subcommand_from open' -l json
complete -c derphole -n '__fish_seen_subcommand_from open' -l help
complete -c derphole -n '__fish_seen_subcommand_from open' -l version
complete -c derphole -n '__fish_seen_subcommand_from open' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from ssh; and not __fish_seen_subcommand_from accept' -f -a accept
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l key-file
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l yes
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l write-config
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l token
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l token-file
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l token-stdin
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l relay
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l trace
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l silent
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l json
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l help
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l version
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from accept' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from ssh; and not __fish_seen_subcommand_from invite' -f -a invite
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l user
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l yes
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l port
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l print-token-only
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l code-words
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l no-code
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l expires
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l derp-map
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l relay
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l ca-file
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l force-relay
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l udp-port
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l timeout
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l trace
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l trace-size
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l silent
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l json
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l help
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l version
complete -c derphole -n '__fish_seen_subcommand_from ssh; and __fish_seen_subcommand_from invite' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from relay' -l listen
complete -c derphole -n '__fish_seen_subcommand_from relay' -l stun-port
complete -c derphole -n '__fish_seen_subcommand_from relay' -l tls-cert
complete -c derphole -n '__fish_seen_subcommand_from relay' -l tls-key
complete -c derphole -n '__fish_seen_subcommand_from relay' -l public-url
complete -c derphole -n '__fish_seen_subcommand_from relay' -l behind-proxy
complete -c derphole -n '__fish_seen_subcommand_from relay' -l max-clients
complete -c derphole -n '__fish_seen_subcommand_from relay' -l max-per-address
complete -c derphole -n '__fish_seen_subcommand_from relay' -l rate
complete -c derphole -n '__fish_seen_subcommand_from relay' -l key-file
complete -c derphole -n '__fish_seen_subcommand_from relay' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from relay' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from relay' -l silent
complete -c derphole -n '__fish_seen_subcommand_from relay' -l json
complete -c derphole -n '__fish_seen_subcommand_from relay' -l help
complete -c derphole -n '__fish_seen_subcommand_from relay' -l version
complete -c derphole -n '__fish_seen_subcommand_from relay' -l help-llm
complete -c derphole -n '__fish_seen_subcommand_from version' -l verbose
complete -c derphole -n '__fish_seen_subcommand_from version' -l quiet
complete -c derphole -n '__fish_seen_subcommand_from version' -l silent
complete -c derphole -n '__fish_seen_subcommand_from version' -l json
complete -c derphole -n '__fish_seen_subcommand_from version' -l help
complete -c derphole -n '__fish_seen_subcommand_from version' -l version
complete -c derphole -n '__fish_seen_subcommand_from version' -l help-llm
complete -c derptun -n '__fish_use_subcommand' -f -a 'help connect netcheck open serve service status token version'
complete -c derptun -n '__fish_seen_subcommand_from connect' -l stdio
complete -c derptun -n '__fish_seen_subcommand_from connect' -l token
complete -c derptun -n '__fish_seen_subcommand_from connect' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from connect' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from connect' -l service
complete -c derptun -n '__fish_seen_subcommand_from connect' -l registry
complete -c derptun -n '__fish_seen_subcommand_from connect' -l print-ssh-config
complete -c derptun -n '__fish_seen_subcommand_from connect' -l log-file
complete -c derptun -n '__fish_seen_subcommand_from connect' -l derp-map
complete -c derptun -n '__fish_seen_subcommand_from connect' -l relay
complete -c derptun -n '__fish_seen_subcommand_from connect' -l ca-file
complete -c derptun -n '__fish_seen_subcommand_from connect' -l force-relay
complete -c derptun -n '__fish_seen_subcommand_from connect' -l udp-port
complete -c derptun -n '__fish_seen_subcommand_from connect' -l timeout
complete -c derptun -n '__fish_seen_subcommand_from connect' -l trace
complete -c derptun -n '__fish_seen_subcommand_from connect' -l trace-size
complete -c derptun -n '__fish_seen_subcommand_from connect' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from connect' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from connect' -l silent
complete -c derptun -n '__fish_seen_subcommand_from connect' -l json
complete -c derptun -n '__fish_seen_subcommand_from connect' -l help
complete -c derptun -n '__fish_seen_subcommand_from connect' -l version
complete -c derptun -n '__fish_seen_subcommand_from connect' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l derp-map
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l relay
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l ca-file
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l force-relay
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l udp-port
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l timeout
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l trace
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l trace-size
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l silent
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l json
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l help
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l version
complete -c derptun -n '__fish_seen_subcommand_from netcheck' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from open' -l token
complete -c derptun -n '__fish_seen_subcommand_from open' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from open' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from open' -l service
complete -c derptun -n '__fish_seen_subcommand_from open' -l registry
complete -c derptun -n '__fish_seen_subcommand_from open' -l listen
complete -c derptun -n '__fish_seen_subcommand_from open' -l derp-map
complete -c derptun -n '__fish_seen_subcommand_from open' -l relay
complete -c derptun -n '__fish_seen_subcommand_from open' -l ca-file
complete -c derptun -n '__fish_seen_subcommand_from open' -l force-relay
complete -c derptun -n '__fish_seen_subcommand_from open' -l udp-port
complete -c derptun -n '__fish_seen_subcommand_from open' -l timeout
complete -c derptun -n '__fish_seen_subcommand_from open' -l trace
complete -c derptun -n '__fish_seen_subcommand_from open' -l trace-size
complete -c derptun -n '__fish_seen_subcommand_from open' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from open' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from open' -l silent
complete -c derptun -n '__fish_seen_subcommand_from open' -l json
complete -c derptun -n '__fish_seen_subcommand_from open' -l help
complete -c derptun -n '__fish_seen_subcommand_from open' -l version
complete -c derptun -n '__fish_seen_subcommand_from open' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from serve' -l token
complete -c derptun -n '__fish_seen_subcommand_from serve' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from serve' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from serve' -l tcp
complete -c derptun -n '__fish_seen_subcommand_from serve' -l max-clients
complete -c derptun -n '__fish_seen_subcommand_from serve' -l revoked
complete -c derptun -n '__fish_seen_subcommand_from serve' -l replace
complete -c derptun -n '__fish_seen_subcommand_from serve' -l register
complete -c derptun -n '__fish_seen_subcommand_from serve' -l registry
complete -c derptun -n '__fish_seen_subcommand_from serve' -l qr
complete -c derptun -n '__fish_seen_subcommand_from serve' -l derp-map
complete -c derptun -n '__fish_seen_subcommand_from serve' -l relay
complete -c derptun -n '__fish_seen_subcommand_from serve' -l ca-file
complete -c derptun -n '__fish_seen_subcommand_from serve' -l force-relay
complete -c derptun -n '__fish_seen_subcommand_from serve' -l udp-port
complete -c derptun -n '__fish_seen_subcommand_from serve' -l timeout
complete -c derptun -n '__fish_seen_subcommand_from serve' -l trace
complete -c derptun -n '__fish_seen_subcommand_from serve' -l trace-size
complete -c derptun -n '__fish_seen_subcommand_from serve' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from serve' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from serve' -l silent
complete -c derptun -n '__fish_seen_subcommand_from serve' -l json
complete -c derptun -n '__fish_seen_subcommand_from serve' -l help
complete -c derptun -n '__fish_seen_subcommand_from serve' -l version
complete -c derptun -n '__fish_seen_subcommand_from serve' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from service; and not __fish_seen_subcommand_from list' -f -a list
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l registry
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l silent
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l json
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l help
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l version
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from list' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from service; and not __fish_seen_subcommand_from rm' -f -a rm
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l registry
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l silent
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l json
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l help
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l version
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from rm' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from service; and not __fish_seen_subcommand_from set' -f -a set
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l token
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l registry
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l silent
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l json
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l help
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l version
complete -c derptun -n '__fish_seen_subcommand_from service; and __fish_seen_subcommand_from set' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from status' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from status' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from status' -l silent
complete -c derptun -n '__fish_seen_subcommand_from status' -l json
complete -c derptun -n '__fish_seen_subcommand_from status' -l help
complete -c derptun -n '__fish_seen_subcommand_from status' -l version
complete -c derptun -n '__fish_seen_subcommand_from status' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from server' -f -a server
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l days
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l expires
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l output
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l overwrite
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l renew
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l region
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l derp-map
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l relay
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l ca-file
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l silent
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l json
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l help
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l version
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from server' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from client' -f -a client
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l token
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l days
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l expires
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l name
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l output
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l overwrite
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l silent
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l json
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l help
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l version
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from client' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from show' -f -a show
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l token
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l silent
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l json
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l help
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l version
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from show' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from revoke' -f -a revoke
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l token
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l token-file
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l token-stdin
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l revoked
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l silent
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l json
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l help
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l version
complete -c derptun -n '__fish_seen_subcommand_from token; and __fish_seen_subcommand_from revoke' -l help-llm
complete -c derptun -n '__fish_seen_subcommand_from version' -l verbose
complete -c derptun -n '__fish_seen_subcommand_from version' -l quiet
complete -c derptun -n '__fish_seen_subcommand_from version' -l silent
complete -c derptun -n '__fish_seen_subcommand_from version' -l json
complete -c derptun -n '__fish_seen_subcommand_from version' -l help
complete -c derptun -n '__fish_seen_subcommand_from version' -l version
complete -c derptun -n '__fish_seen_subcommand_from version' -l help-llm
